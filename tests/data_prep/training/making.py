"""The five training sets as their authors store them, with tiny pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.data_prep.making import picture_bytes


def hub_shards(
    folder: Path, rows: list[dict[str, Any]], images: tuple[str, ...], shards: int = 2
) -> None:
    """Parquet shards of the split `train`, written by `datasets` as on the hub: image columns say that they are."""
    from datasets import Dataset, Features, Image, Value

    kinds = {str: Value("string"), int: Value("int64")}
    columns = {name: kinds.get(type(value)) for name, value in rows[0].items()}
    columns |= {name: Image() for name in images}
    shards = min(shards, len(rows))
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for index in range(shards):
        part = [
            {k: {"bytes": v, "path": None} if k in images else v for k, v in row.items()}
            for row in rows[index::shards]
        ]
        known = Features({name: kind for name, kind in columns.items() if kind is not None})
        lists = [name for name, kind in columns.items() if kind is None]
        whole = Dataset.from_list(part) if lists else Dataset.from_list(part, features=known)
        for name in images if lists else ():
            whole = whole.cast_column(name, Image())
        whole.to_parquet(str(folder / "data" / f"train-{index:05d}-of-{shards:05d}.parquet"))


def multigen(folder: Path, count: int = 6, size: int = 40) -> None:
    rows = [
        {
            "image": picture_bytes(i, size, "TIFF" if i == 1 else "JPEG"),
            "control_depth": picture_bytes(100 + i, size, "PNG", mode="L"),
            "text": f"a red cube number {i}",
        }
        for i in range(count)
    ]
    hub_shards(folder / "multigen", rows, ("image", "control_depth"))


def coco_stuff(folder: Path, count: int = 6, size: int = 40, **more: str) -> None:
    """`more` are further text columns, such as a copy's `detailed_prompt`."""
    rows = [
        {
            "image": picture_bytes(200 + i, (size + 16, size)),
            "control_seg": picture_bytes(300 + i, (size + 16, size), "PNG", mode="P"),
            "prompt": f"a green ball number {i}",
            "panoptic_seg_map": np.zeros((4, 4), np.uint8).tolist(),
            "image_path": f"{i}.jpg",
        }
        | more
        for i in range(count)
    ]
    hub_shards(folder / "coco-stuff", rows, ("image", "control_seg"))


def pipe(folder: Path, count: int = 6, size: int = 40) -> None:
    rows = [
        {
            "source_img": picture_bytes(400 + i, size),
            "target_img": picture_bytes(500 + i, size),
            "Instruction_VLM-LLM": f"Add blue cone number {i}",
            "Instruction_Class": "Add cone",
            "object_location": "left",
            "img_id": i,
        }
        for i in range(count)
    ]
    hub_shards(folder / "pipe", rows, ("source_img", "target_img"))


def instruct_pix2pix(folder: Path, count: int = 6, size: int = 40) -> None:
    rows = [
        {
            "original_prompt": f"a photo of a hill, {i}",
            "original_image": picture_bytes(800 + i, size),
            "edit_prompt": f"make it snow {i}",
            "edited_prompt": f"a photo of a hill in snow, {i}",
            "edited_image": picture_bytes(900 + i, size),
        }
        for i in range(count)
    ]
    hub_shards(folder / "instruct-pix2pix", rows, ("original_image", "edited_image"))


def seed_unsplash(folder: Path, count: int = 6, size: int = 40) -> None:
    """The unpacked archive: JSON lines in two folders, of which one is a rewriting, and the pictures that they name."""
    root = folder / "seed-unsplash" / "auto_editing" / "unsplash"
    for name in ("annotations", "annotations_GPT4V", "images/before", "images/after"):
        (root / name).mkdir(parents=True)
    lines = []
    for i in range(count):
        for when, seed in (("before", 600), ("after", 700)):
            path = root / "images" / when / f"{i}.jpg"
            path.write_bytes(picture_bytes(seed + i, (size, size + 12)))
        lines.append(
            {
                "source_image": f"before/{i}.jpg",
                "target_image": f"after/{i}.jpg",
                "instruction": f"make the ball bigger, number {i}",
                "source_caption": "a ball",
                "target_caption": "a bigger ball",
            }
        )
    for index in range(2):
        text = "".join(json.dumps(line) + "\n" for line in lines[index::2])
        (root / "annotations" / f"split_{index:04d}.jsonl").write_text(text)
    rewritten = lines[0] | {"instruction": "rewritten", "instruction_ori": "make the ball bigger"}
    (root / "annotations_GPT4V" / "split_0000.jsonl").write_text(json.dumps(rewritten) + "\n")


def all_sources(folder: Path, count: int = 6, size: int = 40) -> None:
    for write in (multigen, coco_stuff, pipe, seed_unsplash):
        write(folder, count, size)
