"""Captioned ADE20K (`limingcv/Captioned_ADE20K`, validation, 2,000) for segmentation.

Labels are the column `seg_map`: 1 … 150, 0 for "other", which is not scored. Some PNGs carry more text than PIL reads
by default.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from data_prep import hub_copy, paired
from data_prep.coco_stuff import segmentation_row
from editar_bench.types import Task

SOURCE = hub_copy.HubSplit(
    repository="limingcv/Captioned_ADE20K",
    split="validation",
    columns=("image", "control_seg", "seg_map", "prompt"),
    command="editar-bench prepare --dataset ade20k",
    size=630_000_000,  # its part of 7.04 GB
)
_TEXT_BYTES = 64 * 2**20  # of one PNG


def build(original: Path, folder: Path) -> Path:
    """Write `<folder>/segmentation/test-….parquet` from a copy of the repository; `label` is uint8 at 512 pixels."""
    with long_png_texts():
        return paired.write_test(folder, Task.SEGMENTATION, rows(original), ("label",))


def rows(original: Path) -> Iterator[dict[str, Any]]:
    """One paired row a picture."""
    for index, row in enumerate(hub_copy.rows(original, SOURCE)):
        where = f"{index} of {SOURCE.repository}"
        label = hub_copy.label_map(row["seg_map"], f"{where}, labels", 150)
        yield segmentation_row(f"ade20k-{index:05d}", row, where) | {"label": label}


@contextmanager
def long_png_texts() -> Iterator[None]:
    """Let PIL read PNGs with up to 64 MiB of text, for a while only: the limit guards against hostile files."""
    from PIL import PngImagePlugin

    before = PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = _TEXT_BYTES
    try:
        yield
    finally:
        PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = before
