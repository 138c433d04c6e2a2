"""MagicBrush (Zhang et al. 2023; `osunlp/MagicBrush`, dev, 528 turns): edits with a true edited picture.

Every turn is a sample of its own, from the true picture before it: the setting "all turns". The captions for CLIP-T
are no part of the repository, so that score is undefined here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_prep import hub_copy, paired
from editar_bench.types import Task

SOURCE = hub_copy.HubSplit(
    repository="osunlp/MagicBrush",
    split="dev",
    columns=("img_id", "turn_index", "source_img", "instruction", "target_img"),
    command="editar-bench prepare --dataset magicbrush-all-turns",
    size=1_270_000_000,  # its part of 22.4 GB
)


def build(original: Path, folder: Path) -> Path:
    """Write `<folder>/edit/test-….parquet` from a copy of the repository; pictures at their stored size."""
    return paired.write_test(folder, Task.EDIT, rows(original))


def rows(original: Path) -> Iterator[dict[str, Any]]:
    """One paired row a turn."""
    for row in hub_copy.rows(original, SOURCE):
        name = f"{row['img_id']}-{row['turn_index']}"
        where = f"{name} of {SOURCE.repository}"
        yield {
            "id": f"magicbrush-{name}",
            "task": Task.EDIT.value,
            "prompt": row["instruction"] or "",
            "condition": hub_copy.stored(row["source_img"], f"{where}, source"),
            "source_caption": None,
            "target_caption": None,
            "target": hub_copy.stored(row["target_img"], f"{where}, target"),
            "edit_mask": None,
            "category": "",
            "slices": [f"turn {row['turn_index']}"],
            paired.SOURCE_ID: hub_copy.source_id(row),
        }
