"""Emu Edit's test set (Sheynin et al. 2024; `facebook/emu_edit_test_set`, test, 3,589): edits without a true picture.

The authors' outputs (`…_generations`) have their split names swapped: join them on `key`, never on a split's name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from data_prep import hub_copy, paired
from editar_bench.types import Task

SOURCE = hub_copy.HubSplit(
    repository="facebook/emu_edit_test_set",
    split="test",
    columns=("instruction", "image", "task", "idx", "hash", "input_caption", "output_caption"),
    command="editar-bench prepare --dataset emu-edit",
)


def build(original: Path, folder: Path) -> Path:
    """Write `<folder>/edit/test-….parquet` from a copy of the repository; pictures at their stored size."""
    return paired.write_test(folder, Task.EDIT, rows(original))


def key(row: Mapping[str, Any]) -> str:
    """What names a sample in the test set and in the authors' outputs alike."""
    return f"{row['idx']}-{row['hash']}"


def rows(original: Path) -> Iterator[dict[str, Any]]:
    """One paired row an instruction."""
    for row in hub_copy.rows(original, SOURCE):
        yield {
            "id": f"emu-edit-{key(row)}",
            "task": Task.EDIT.value,
            "prompt": row["instruction"] or "",
            "condition": hub_copy.stored(row["image"], f"{key(row)} of {SOURCE.repository}"),
            "source_caption": row["input_caption"],
            "target_caption": row["output_caption"],
            "target": None,
            "edit_mask": None,
            "category": row["task"] or "",
            "slices": [],
        }
