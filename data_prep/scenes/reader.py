"""A built split as a lazy sequence of Examples."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from data_prep.scenes.build import split_path
from editar_bench.errors import UserError
from editar_bench.types import Example, Picture, Task

if TYPE_CHECKING:
    from datasets import Dataset

_MAPS = ("label", "color", "material")


class SceneExamples(Sequence[Example]):
    """The samples of one task and split in their fixed order; pictures are decoded when indexed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows = _open(path)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Example: ...

    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...

    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return _example(self._rows[index % len(self)])

    def __iter__(self) -> Iterator[Example]:
        return (self[i] for i in range(len(self)))

    @property
    def size(self) -> int:
        """Pixels a side."""
        height, _ = self._rows.features["depth"].shape
        return int(height)

    def fingerprint(self) -> str:
        """sha256 of all that models and metrics read, whatever the file format's version."""
        digest = hashlib.sha256()
        for example in self:
            texts = (example.id, example.prompt, example.category, *example.slices)
            captions = (example.source_caption or "", example.target_caption or "")
            digest.update("\0".join((*texts, *captions)).encode())
            digest.update(picture_hash(example).encode())
            for array in (example.edit_mask, *example.truth.values()):
                digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def read_split(folder: Path, task: Task, split: str) -> SceneExamples:
    """Open a split that `build.build_split` wrote under `folder`."""
    path = split_path(folder, task, split)
    if not path.is_file():
        raise UserError(
            f"The scenes data of task {task.value!r}, split {split!r} is not at {path}; "
            "make it with `editar-bench prepare --suite scenes`."
        )
    return SceneExamples(path)


def pair_hash(condition: Picture, target: Picture) -> str:
    """sha256 over shape and pixels of a condition and a target."""
    digest = hashlib.sha256()
    for picture in (condition, target):
        digest.update(repr(picture.shape).encode())
        digest.update(np.ascontiguousarray(picture).tobytes())
    return digest.hexdigest()


def picture_hash(example: Example) -> str:
    """sha256 of a sample's pictures."""
    assert example.target is not None
    return pair_hash(example.condition, example.target)


def _open(path: Path) -> Dataset:
    """Read the Parquet file into memory, undecoded, without the cache folder of load_dataset."""
    import pyarrow
    import pyarrow.parquet
    from datasets import Dataset, Image

    try:
        rows = Dataset(pyarrow.parquet.read_table(path))
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(
            f"The data file {path} cannot be read ({error}); delete it and run "
            "`editar-bench prepare --suite scenes`."
        ) from error
    for name in ("condition", "target", "edit_mask", *_MAPS):
        rows = rows.cast_column(name, Image(decode=False))
    return rows


def _example(row: Mapping[str, Any]) -> Example:
    mask = row["edit_mask"]
    return Example(
        id=row["id"],
        task=Task(row["task"]),
        prompt=row["prompt"],
        condition=_decode(row["condition"]),
        source_caption=row["source_caption"],
        target_caption=row["target_caption"],
        target=_decode(row["target"]),
        edit_mask=None if mask is None else _decode(mask) > 0,
        truth={
            "depth": np.asarray(row["depth"], dtype=np.float32),
            **{name: _decode(row[name]) for name in _MAPS},
        },
        category=row["category"],
        slices=tuple(row["slices"]),
    )


def _decode(image: Mapping[str, Any]) -> NDArray[np.uint8]:
    from PIL import Image

    return np.array(Image.open(io.BytesIO(image["bytes"])))
