"""MultiGen-20M's validation pictures (Qin et al. 2023, Li et al. 2024) for depth and edges.

`limingcv/MultiGen-20M_depth_eval` (image, control_depth, text) and `…_canny_eval` (image, text), 5,000 rows each and,
by a third party's check, the same pictures. 25 of them are byte-identical to another; they stay, as published, in a
slice of their own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from data_prep import hub_copy, paired
from editar_bench.conditions import canny_published
from editar_bench.types import Picture, Task

DEPTH = hub_copy.HubSplit(
    repository="limingcv/MultiGen-20M_depth_eval",
    split="validation",
    columns=("image", "control_depth", "text"),
    command="editar-bench prepare --dataset multigen-depth",
    size=2_170_000_000,
)
CANNY = hub_copy.HubSplit(
    repository="limingcv/MultiGen-20M_canny_eval",
    split="validation",
    columns=("image", "text"),
    command="editar-bench prepare --dataset multigen-canny",
    size=2_050_000_000,  # its part of 2.25 GB
)


def build_depth(original: Path, folder: Path) -> Path:
    """Write `<folder>/depth/test-….parquet` from a copy of the depth repository.

    The map `control_depth` holds the stored gray values, uint8 (H, W), near is bright.
    """
    return paired.write_test(folder, Task.DEPTH, depth_rows(original), ("control_depth",))


def build_canny(original: Path, folder: Path) -> Path:
    """Write `<folder>/edge/test-….parquet`; conditions are kornia's canny at 512 pixels, as EditAR and ControlNet++."""
    return paired.write_test(folder, Task.EDGE, canny_rows(original))


def build_edges(
    original: Path, folder: Path, edges: Callable[[Picture], Picture], name: str
) -> Path:
    """Write `<folder>/edge/test-….parquet` from a copy of the canny repository, with edges of another detector.

    Args:
        original: the copy.
        folder: the data set's.
        edges: of a picture (512, 512, 3), white on black, the same shape.
        name: of the detector, for ids.
    """
    rows = (
        common
        | {
            "id": common["id"].replace("edge", name),
            "condition": edges(hub_copy.decoded(common["target"])),
        }
        for _, _, common in _rows(original, Task.EDGE, CANNY)
    )
    return paired.write_test(folder, Task.EDGE, rows)


def depth_rows(original: Path) -> Iterator[dict[str, Any]]:
    """One paired row a picture."""
    for where, row, common in _rows(original, Task.DEPTH, DEPTH):
        gray = hub_copy.picture(row["control_depth"], f"{where}, depth")[..., 0]
        condition = hub_copy.square(row["control_depth"], f"{where}, depth")
        yield common | {"condition": condition, "control_depth": gray}


def canny_rows(original: Path) -> Iterator[dict[str, Any]]:
    """One paired row a picture."""
    for _, _, common in _rows(original, Task.EDGE, CANNY):
        yield common | {"condition": canny_published(hub_copy.decoded(common["target"]))}


def _rows(
    original: Path, task: Task, source: hub_copy.HubSplit
) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Name, source row, and what the two tasks' paired rows share."""
    seen: set[str] = set()
    for index, row in enumerate(hub_copy.rows(original, source)):
        where = f"{index} of {source.repository}"
        content = hashlib.sha256(hub_copy.file_of(row["image"], where)).hexdigest()
        yield (
            where,
            row,
            {
                "id": f"multigen-{task.value}-{index:05d}",
                "task": task.value,
                "prompt": row["text"] or "",
                "source_caption": None,
                "target_caption": row["text"] or "",
                "target": hub_copy.square(row["image"], where),
                "edit_mask": None,
                "category": "",
                "slices": ["duplicate"] if content in seen else [],
                paired.SOURCE_ID: hub_copy.source_id(row),
            },
        )
        seen.add(content)
