"""What the four scenes tasks share: the data, built when first used, and its checks."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar, overload

from data_prep.paired import split_path
from data_prep.scenes import hashes
from data_prep.scenes.build import BuiltSplit, build_split
from data_prep.scenes.constants import FAR, IMAGE_SIZE, NEAR
from data_prep.scenes.reader import SceneExamples, read_split
from data_prep.scenes.stream import SEEN_SIZE
from editar_bench.conditions import inverse_depth
from editar_bench.types import Example, Task

DATA_VARIABLE = "EDITAR_BENCH_DATA"  # names the folder that data sets are kept in
# Metrics that every scenes task reports, after its own.
COMMON = (
    "color_accuracy",
    "material_accuracy",
    "psnr_objects",
    "clip_score",
    "kernel_distance",
)


def data_folder() -> Path:
    """Where the scenes data lies: `$EDITAR_BENCH_DATA/scenes`, by default `./data/scenes`."""
    return Path(os.environ.get(DATA_VARIABLE) or "data") / "scenes"


class SceneTask:
    """A task on a split of the scenes; subclasses say which task and which metrics."""

    task: ClassVar[Task]
    metrics: ClassVar[Sequence[str]]
    dataset = "scenes"
    default_split: ClassVar[BuiltSplit] = "test"

    def __init__(
        self, split: BuiltSplit | None = None, folder: Path | None = None, size: int = IMAGE_SIZE
    ) -> None:
        self.split = split or type(self).default_split
        self.folder = folder or data_folder()
        self.size = size

    def load(self) -> Sequence[Example]:
        """The whole split; built on first use.

        `truth` also holds "inverse_depth" (float32, H×W, [0, 1]) with the suite's near and far.
        """
        return self._examples

    def remarks(self) -> Sequence[str]:
        """A sentence where the test pictures of this machine are not the published ones."""
        if self.split != "test" or self.size != hashes.load()["size"]:
            return ()
        different = hashes.verify(self._examples.scenes)
        if not different:
            return ()
        return (
            f"{len(different)} of {len(self._examples)} test pictures of scenes/{self.task} differ "
            f"on this machine from the published ones (the first is {different[0]}); results are "
            "not exactly comparable.",
        )

    def fingerprint(self) -> str:
        """sha256 of ids, texts and decoded pictures of the whole split."""
        return self._fingerprint

    @cached_property
    def _examples(self) -> _WithInverseDepth:
        self._build()
        return _WithInverseDepth(read_split(self.folder, self.task, self.split))

    @cached_property
    def _fingerprint(self) -> str:
        return self._examples.scenes.fingerprint()

    def _build(self) -> None:
        """Make the split unless this version of the data has been made before."""
        path = split_path(self.folder, self.task, self.split)
        stamp = path.with_name(f"{self.split}.version")
        version = f"{self.size} {_version()}\n"
        if path.is_file() and stamp.is_file() and stamp.read_text() == version:
            return
        print(f"making the {self.split} pictures of scenes/{self.task} …", file=sys.stderr)
        build_split(self.split, self.task, self.folder, self.size)
        stamp.write_text(version)


class _WithInverseDepth(Sequence[Example]):
    """Examples with the map that depth is scored on, seen and unseen ones spread evenly.

    The split is stored as its seen part and then its unseen part; spread, the first n samples of a limited run hold
    both in the split's proportion.
    """

    def __init__(self, scenes: SceneExamples) -> None:
        self.scenes = scenes
        self._order = spread(len(scenes))

    def __len__(self) -> int:
        return len(self.scenes)

    @overload
    def __getitem__(self, index: int) -> Example: ...

    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...

    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            return [_with_inverse_depth(self.scenes[i]) for i in self._order[index]]
        return _with_inverse_depth(self.scenes[self._order[index]])

    def __iter__(self) -> Iterator[Example]:
        return (self[i] for i in range(len(self)))

    def groups(self) -> Iterator[tuple[str, list[str]]]:
        """Category and slices of every sample, in whatever order."""
        return self.scenes.groups()


def spread(count: int, seen: int = SEEN_SIZE) -> list[int]:
    """The indices 0...count - 1 with those from `seen` on mixed evenly among the others, both in order."""
    sizes = (min(seen, count), count - min(seen, count))
    places = [((i + 0.5) / sizes[0], i) for i in range(sizes[0])]
    places += [((i + 0.5) / sizes[1], sizes[0] + i) for i in range(sizes[1])]
    return [index for _, index in sorted(places)]


def _with_inverse_depth(example: Example) -> Example:
    depth = inverse_depth(example.truth["depth"], NEAR, FAR)
    return replace(example, truth={**example.truth, "inverse_depth": depth})


def _version() -> str:
    """Changes whenever somebody stores new hashes of the test pictures."""
    return hashlib.sha256(hashes.HASHES_PATH.read_bytes()).hexdigest()
