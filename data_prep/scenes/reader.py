"""A built split as a lazy sequence of Examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.paired import PairedExamples, pair_hash, split_path
from data_prep.scenes.constants import MAPS
from editar_bench.errors import UserError
from editar_bench.types import Example, Task


class SceneExamples(PairedExamples):
    """The samples of one task and split in their fixed order; pictures are decoded when indexed."""

    columns = (*PairedExamples.columns, *MAPS, "depth")

    def __init__(self, path: Path) -> None:
        super().__init__(path, "editar-bench prepare --suite scenes")

    @property
    def size(self) -> int:
        """Pixels a side."""
        height, _ = self._rows.features["depth"].shape
        return int(height)

    def example(self, row: Mapping[str, Any]) -> Example:
        """The sample of a row, with depth in meters (inf = sky)."""
        depth = np.asarray(row["depth"], dtype=np.float32)
        example = super().example(row)
        return replace(example, truth={"depth": depth, **example.truth})


def read_split(folder: Path, task: Task, split: str) -> SceneExamples:
    """Open a split that `build.build_split` wrote under `folder`."""
    path = split_path(folder, task, split)
    if not path.is_file():
        raise UserError(
            f"The scenes data of task {task.value!r}, split {split!r} is not at {path}; "
            "make it with `editar-bench prepare --suite scenes`."
        )
    return SceneExamples(path)


def picture_hash(example: Example) -> str:
    """sha256 of a sample's pictures."""
    assert example.target is not None
    return pair_hash(example.condition, example.target)
