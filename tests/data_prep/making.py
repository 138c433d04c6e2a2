"""Fixtures in the layouts that the sources really have."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def picture_bytes(
    seed: int, size: int | tuple[int, int] = 512, kind: str = "JPEG", **how: Any
) -> bytes:
    """A soft random picture as a file; `size` is a side, or (width, height)."""
    shape = (size, size) if isinstance(size, int) else size
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize(shape)
    if "mode" in how:
        image = image.convert(how.pop("mode"))
    data = io.BytesIO()
    image.save(data, kind, **how)
    return data.getvalue()


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def pie_item(**changes: Any) -> dict[str, Any]:
    """An annotation as PIE-Bench has them."""
    return {
        "image_path": "1_change_object_80/1_artificial/1_animal/111000000000.jpg",
        "original_prompt": "a [cat] sitting on a bench",
        "editing_prompt": "a [dog] sitting on a bench",
        "editing_instruction": "Change the cat to a dog",
        "editing_type_id": "1",
        "blended_word": "cat dog",
        "mask": [1000, 20, 1512, 20],
    } | changes


def pie_archive(folder: Path, **items: dict[str, Any]) -> Path:
    """The unpacked archive: mapping_file.json and annotation_images/."""
    for seed, item in enumerate(items.values()):
        path = folder / "annotation_images" / item["image_path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture_bytes(seed))
    (folder / "mapping_file.json").write_text(json.dumps(items))
    return folder


def shard(path: Path, rows: list[dict[str, Any]]) -> None:
    """A Parquet shard as the hub has them: image cells are structs of bytes and path."""
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [
        {k: {"bytes": v, "path": None} if isinstance(v, bytes) else v for k, v in row.items()}
        for row in rows
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(cells), path)
