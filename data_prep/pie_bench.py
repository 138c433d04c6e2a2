"""PIE-Bench (Ju et al. 2024, arXiv 2310.01506): the original archive to paired samples.

Its layout: `mapping_file.json`, an object of 700 annotations by a 12-digit key, and the pictures under
`annotation_images/`. The archive comes through the form linked in the README of cure-lab/PnPInversion. PIE-Bench++
on the hub has other prompts and no instructions, and is not this data.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data_prep import paired
from data_prep.masks import SIDE, decode_runs
from data_prep.untrusted import check_picture, inside
from editar_bench.errors import UserError
from editar_bench.types import Task

MAPPING, PICTURES = "mapping_file.json", "annotation_images"
COUNT = 700
REQUEST = "ask for the archive by the form in the README of cure-lab/PnPInversion and unpack it"
TYPES = (
    "random",
    "change object",
    "add object",
    "delete object",
    "change content",
    "change pose",
    "change color",
    "change material",
    "change background",
    "change style",
)  # by editing_type_id
_TEXTS = ("image_path", "original_prompt", "editing_prompt", "editing_instruction")
_ORIGINS = ("artificial", "natural")


def build(original: Path, folder: Path) -> Path:
    """Read the original archive and write `<folder>/edit/test-….parquet`; returns the file.

    The JPEG files are stored as they are, so that pictures are those of the published protocol to the bit.

    Raises:
        UserError: a file is missing or damaged, or the annotations are not PIE-Bench's.
    """
    from datasets import Value

    path = paired.split_path(folder, Task.EDIT, "test")
    columns = paired.features(arrays={"blend_words": [Value("string")]})
    paired.write_rows(rows(original), path, columns)
    return path


def rows(original: Path) -> Iterator[dict[str, Any]]:
    """One paired row an annotation, in the order of the file."""
    for key, item in _annotations(original / MAPPING).items():
        yield _row(original / PICTURES, key, item)


def clean_prompt(prompt: str) -> str:
    """A caption without the square brackets around its changed words; nothing takes their place."""
    return prompt.replace("[", "").replace("]", "")


def _annotations(path: Path) -> Mapping[str, Any]:
    try:
        items = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_checked)
    except OSError as error:
        raise UserError(
            f"PIE-Bench's annotations are not at {path}; unpack the original archive there (the "
            "form to ask for it is in the README of cure-lab/PnPInversion)."
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"PIE-Bench's annotations at {path} cannot be read: {error}.") from error
    if not isinstance(items, dict) or not items:
        raise UserError(f"{path} holds no annotations; it must be an object of samples by key.")
    return items


def _checked(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; json itself would silently keep the last of two equal keys, and halves of characters.

    Raises:
        ValueError: it has either.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands there twice")
    for value in found.values():
        if isinstance(value, str):
            value.encode()
    return found


def _row(pictures: Path, key: str, item: Any) -> dict[str, Any]:
    if not isinstance(item, dict) or any(not isinstance(item.get(k), str) for k in _TEXTS):
        raise UserError(
            f"Sample {key} of PIE-Bench lacks one of {', '.join(_TEXTS)}; this is another data set "
            "(PIE-Bench++ and the TI2I set have no instructions)."
        )
    return {
        "id": f"pie-bench-{key}",
        "task": Task.EDIT.value,
        "prompt": item["editing_instruction"],
        "condition": _picture(pictures, item["image_path"]),
        "source_caption": clean_prompt(item["original_prompt"]),
        "target_caption": clean_prompt(item["editing_prompt"]),
        "blend_words": _blend_words(item.get("blended_word")),
        "target": None,
        "edit_mask": _mask(key, item.get("mask")),
        "category": _category(key, item.get("editing_type_id")),
        "slices": [o for o in _ORIGINS if f"_{o}/" in item["image_path"]],
    }


def _category(key: str, type_id: Any) -> str:
    if type_id not in [str(i) for i in range(len(TYPES))]:
        raise UserError(f"Sample {key} of PIE-Bench has the editing type {type_id!r}, not 0 to 9.")
    return TYPES[int(type_id)]


def _blend_words(text: Any) -> list[str]:
    """The source's and the target's word of "cat dog"; none where there are not two."""
    words = text.split() if isinstance(text, str) else []
    return words[:2] if len(words) > 1 else []


def _mask(key: str, runs: Any) -> np.ndarray:
    try:
        return decode_runs(runs).astype(np.uint8) * 255
    except (ValueError, TypeError, OverflowError) as error:
        raise UserError(f"The mask of sample {key} of PIE-Bench is damaged: {error}.") from error


def _picture(pictures: Path, name: str) -> bytes:
    path = inside(pictures, name)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"The picture {path} is missing; unpack the whole archive.") from error
    height, width = check_picture(data, str(path))
    if (height, width) != (SIDE, SIDE):
        raise UserError(
            f"The picture {path} has {width}×{height} pixels where PIE-Bench has {SIDE}×{SIDE}."
        )
    return data
