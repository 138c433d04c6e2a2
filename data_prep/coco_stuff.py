"""Captioned COCO-Stuff (`limingcv/Captioned_COCOStuff`, validation, 5,000) for segmentation.

Labels are the column `panoptic_seg_map`, nested lists of classes 0 … 170, 255 for ignored. The other column,
`semantic_seg_map`, is not what the published scores use.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_prep import hub_copy, paired
from editar_bench.types import Task

SOURCE = hub_copy.HubSplit(
    repository="limingcv/Captioned_COCOStuff",
    split="validation",
    columns=("image", "control_seg", "panoptic_seg_map", "prompt"),
    command="editar-bench prepare --dataset coco-stuff",
    size=2_500_000_000,  # its part of 61.9 GB
)


def build(original: Path, folder: Path) -> Path:
    """Write `<folder>/segmentation/test-….parquet` from a copy of the repository; `label` is uint8 at 512 pixels."""
    return paired.write_test(folder, Task.SEGMENTATION, rows(original), ("label",))


def rows(original: Path) -> Iterator[dict[str, Any]]:
    """One paired row a picture."""
    for index, row in enumerate(hub_copy.rows(original, SOURCE)):
        where = f"{index} of {SOURCE.repository}"
        label = hub_copy.label_map(row["panoptic_seg_map"], f"{where}, labels", 170, also=255)
        yield segmentation_row(f"coco-stuff-{index:05d}", row, where) | {"label": label}


def segmentation_row(name: str, row: dict[str, Any], where: str) -> dict[str, Any]:
    """What the paired rows of both captioned segmentation sets share."""
    return {
        "id": name,
        "task": Task.SEGMENTATION.value,
        "prompt": row["prompt"] or "",
        "condition": hub_copy.square(row["control_seg"], f"{where}, palette"),
        "source_caption": None,
        "target_caption": row["prompt"] or "",
        "target": hub_copy.square(row["image"], where),
        "edit_mask": None,
        "category": "",
        "slices": [],
        paired.SOURCE_ID: hub_copy.source_id(row),
    }
