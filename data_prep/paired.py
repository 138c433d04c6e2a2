"""Paired samples on disk: what every data set of this project is stored as.

Layout: `<folder>/<task>/<split>-00000-of-00001.parquet`, so that `datasets.load_dataset(f"{folder}/{task}")` finds the
splits by name. Pictures are image columns; a data set adds columns for the maps it has. Files appear whole or not at
all, and are written a few rows at a time.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, overload

import numpy as np
from numpy.typing import NDArray

from data_prep.row_groups import RowGroups
from data_prep.untrusted import FORMATS
from editar_bench import files
from editar_bench.errors import UserError
from editar_bench.types import Example, Picture, Task

if TYPE_CHECKING:
    from datasets import Features

TEXT = ("id", "task", "prompt", "source_caption", "target_caption", "category")
PICTURES = ("condition", "target", "edit_mask")
SOURCE_ID = "source_id"  # what the source calls the photo, by which other data sets may know it too
_ROWS = 50  # written at once


def split_path(folder: Path, task: Task, split: str) -> Path:
    """Where the Parquet file of a split lies."""
    return folder / task.value / f"{split}-00000-of-00001.parquet"


def features(maps: Sequence[str] = (), arrays: Mapping[str, Any] | None = None) -> Features:
    """The columns of a data set.

    Args:
        maps: names of its uint8 maps, stored as PNG.
        arrays: further columns that images cannot hold, by name.
    """
    from datasets import Features, Image, Value

    return Features(
        {
            **{name: Value("string") for name in TEXT},
            **{name: Image() for name in (*PICTURES, *maps)},
            **(arrays or {}),
            "slices": [Value("string")],
            SOURCE_ID: Value("string"),
        }
    )


@contextlib.contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """`files.written_aside` for data sets: makes the folder, and says in one sentence why it cannot write.

    Raises:
        UserError: the disk is full or may not be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.written_aside(path) as aside:
            yield aside
    except OSError as error:
        raise UserError(
            f"Cannot write {path} ({error.strerror or error}); free some space or choose another "
            "data folder and run again."
        ) from error


def write_rows(rows: Iterable[Mapping[str, Any]], path: Path, columns: Features) -> int:
    """Write rows as they come, a few in memory at a time; returns how many.

    Pictures and maps are uint8 arrays (stored as PNG), bytes of an image file (stored as they are), or None. Rows need
    no `SOURCE_ID`.
    """
    import pyarrow
    import pyarrow.parquet

    schema = columns.arrow_schema
    count = 0
    source = ({SOURCE_ID: None, **row} for row in rows)
    with written_aside(path) as aside, pyarrow.parquet.ParquetWriter(aside, schema) as file:
        while chunk := [columns.encode_example(row) for row in islice(source, _ROWS)]:
            file.write_table(pyarrow.Table.from_pylist(chunk, schema=schema))
            count += len(chunk)
    return count


def write_test(
    folder: Path, task: Task, rows: Iterable[Mapping[str, Any]], maps: Sequence[str] = ()
) -> Path:
    """Write the test split of a task, as `write_rows`; `maps` are those of `features`. Returns the file."""
    path = split_path(folder, task, "test")
    write_rows(rows, path, features(maps))
    return path


def concatenate(parts: Sequence[Path], path: Path) -> None:
    """Join files that `write_rows` wrote with the same columns, a row group in memory at a time."""
    import pyarrow.parquet

    schema = pyarrow.parquet.read_schema(parts[0])
    with written_aside(path) as aside, pyarrow.parquet.ParquetWriter(aside, schema) as joined:
        for file in map(pyarrow.parquet.ParquetFile, parts):
            for group in range(file.num_row_groups):
                joined.write_table(file.read_row_group(group))


class PairedExamples(Sequence[Example]):
    """The samples of one file in their fixed order; pictures are decoded when indexed.

    Args:
        path: the file.
        command: what makes it anew, for error messages.

    Raises:
        UserError: it cannot be read, or lacks a column.
    """

    # Without these no sample is whole.
    columns: ClassVar[Sequence[str]] = (*TEXT, *PICTURES, "slices")

    def __init__(self, path: Path, command: str) -> None:
        self.path = path
        self._rows = RowGroups(path, command)
        lacking = [name for name in self.columns if name not in self._rows.features]
        if lacking:
            raise UserError(
                f"The data file {path} has no column {', '.join(lacking)}; delete it and run "
                f"`{command}`."
            )
        self.maps = [name for name in _image_columns(self._rows.features) if name not in PICTURES]

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
        return self.example(self._rows[index % len(self)])

    def __iter__(self) -> Iterator[Example]:
        return (self[i] for i in range(len(self)))

    def example(self, row: Mapping[str, Any]) -> Example:
        """The sample of a row."""
        mask = row["edit_mask"]
        words = row.get("blend_words")  # a column of PIE-Bench's only
        return Example(
            id=row["id"],
            task=Task(row["task"]),
            prompt=row["prompt"],
            condition=decode_picture(row["condition"]),
            source_caption=row["source_caption"],
            target_caption=row["target_caption"],
            blend_words=(words[0], words[1]) if words else None,
            target=None if row["target"] is None else decode_picture(row["target"]),
            edit_mask=None if mask is None else decode(mask) > 0,
            truth={name: decode(row[name]) for name in self.maps if row[name] is not None},
            category=row["category"],
            slices=tuple(row["slices"]),
        )

    def groups(self) -> Iterator[tuple[str, list[str]]]:
        """Category and slices of every sample, in the file's order; no picture is read."""
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(self.path, columns=["category", "slices"])
        for row in table.to_pylist():
            yield row["category"], row["slices"]

    def fingerprint(self) -> str:
        """sha256 of all that models and metrics read, whatever the file format's version."""
        digest = hashlib.sha256()
        for example in self:
            texts = (example.id, example.prompt, example.category, *example.slices)
            captions = (example.source_caption or "", example.target_caption or "")
            words = example.blend_words or ()  # most data sets have none
            digest.update("\0".join((*texts, *captions, *words)).encode())
            digest.update(pair_hash(example.condition, example.target).encode())
            for array in (example.edit_mask, *example.truth.values()):
                digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def pair_hash(condition: Picture, target: Picture | None) -> str:
    """sha256 over shape and pixels of a condition and, where there is one, a target."""
    digest = hashlib.sha256()
    for picture in (condition, target):
        if picture is not None:
            digest.update(repr(picture.shape).encode())
            digest.update(np.ascontiguousarray(picture).tobytes())
    return digest.hexdigest()


def decode(image: Mapping[str, Any]) -> NDArray[np.uint8]:
    """An image cell as it is stored: (H, W) or (H, W, channels)."""
    from PIL import Image

    return np.array(Image.open(io.BytesIO(image["bytes"]), formats=FORMATS))


def decode_picture(image: Mapping[str, Any]) -> Picture:
    """An image cell as RGB (H, W, 3), whatever its mode: gray and transparent files occur."""
    from PIL import Image

    return np.array(Image.open(io.BytesIO(image["bytes"]), formats=FORMATS).convert("RGB"))


def _image_columns(columns: Features) -> list[str]:
    from datasets import Image

    return [name for name, kind in columns.items() if isinstance(kind, Image)]
