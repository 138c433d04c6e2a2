"""Data sets of the hub from a local copy of their repository: Parquet shards, read a few rows at a time.

Only shards of the wanted split are opened and only the wanted columns read; pictures stay undecoded.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.untrusted import (
    FORMATS,
    as_rgb,
    check_picture,
    is_turned,
    refuse_deep,
    rgb_picture,
)
from editar_bench.errors import UserError
from editar_bench.types import Picture

COUNTED = re.compile(r"-(\d{5})-of-(\d{5})")
SIDE = 512  # pixels: what the control benchmarks generate and compare
NAMES = ("img_id", "image_id", "image_path")  # columns that say which photo a row's pictures are of
_ROWS = 8  # decoded at once: label maps as nested lists are large


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSplit:
    """What is read of a data set of the hub."""

    repository: str
    split: str  # the beginning of the shards' names
    columns: tuple[str, ...]
    command: str  # what fetches it, for messages
    size: int | None = None  # bytes of the shards, about

    @property
    def pattern(self) -> str:
        """The shards' names."""
        return f"{self.split}-*.parquet"


def shards(original: Path, source: HubSplit) -> list[Path]:
    """The shards of a copy, which lie in it or in its folder `data`, in order.

    None unless all of them are there: their names count them (`…-00000-of-00005…`).
    """
    found = sorted(original.glob(source.pattern)) or sorted(
        (original / "data").glob(source.pattern)
    )
    counted = [match for path in found if (match := COUNTED.search(path.name))]
    whole = {(int(match[1]), int(match[2])) for match in counted}
    totals = {total for _, total in whole}
    if counted and whole != {(i, total) for total in totals for i in range(total)}:
        return []
    return found


def rows(original: Path, source: HubSplit) -> Iterator[dict[str, Any]]:
    """The rows of a split, in the order of the shards.

    Args:
        original: the copy.
        source: which split and columns.

    Raises:
        UserError: no shard is there, one cannot be read, or it has other columns.
    """
    found = shards(original, source)
    if not found:
        raise UserError(
            f"There are not all files {source.pattern} in {original}; fetch the split with "
            f"`{source.command}`, or put a copy of {source.repository} there."
        )
    for shard in found:
        yield from shard_rows(shard, source)


def shard_rows(shard: Path, source: HubSplit) -> Iterator[dict[str, Any]]:
    """The rows of one shard.

    Raises:
        UserError: it cannot be read, or has other columns.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(shard)
        missing = [name for name in source.columns if name not in file.schema_arrow.names]
        if missing:
            raise UserError(
                f"{shard} has no column {' and no '.join(missing)}; it is not {source.repository}."
            )
        for batch in file.iter_batches(
            batch_size=_ROWS, columns=wanted(source, file.schema_arrow.names)
        ):
            yield from batch.to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"{shard} cannot be read ({error}); fetch it again.") from error


def wanted(source: HubSplit, there: Sequence[str]) -> list[str]:
    """What is read of a file that has the columns `there`: those of the split, and of `NAMES` what there is."""
    names = (name for name in NAMES if name in there and name not in source.columns)
    return [*source.columns, *names]


def source_id(row: Mapping[str, Any]) -> str | None:
    """What the source calls the photo of a row, where it says so: an id that other data sets may know it by."""
    said = (row[name] for name in NAMES if row.get(name) not in (None, ""))
    return next((str(value) for value in said), None)


def picture(cell: Any, where: str) -> Picture:
    """An image cell decoded to RGB (H, W, 3), upright, after a look at it."""
    return rgb_picture(file_of(cell, where), where)


def stored(cell: Any, where: str) -> bytes | Picture:
    """An image cell as its file, or decoded where it is a TIFF or does not lie upright."""
    from PIL import Image

    data = file_of(cell, where)
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        refuse_deep(image, where)
        kept = image.format != "TIFF" and not is_turned(image)
        return data if kept else np.array(as_rgb(image, where))


def square(cell: Any, where: str) -> bytes | Picture:
    """An image cell at 512 × 512: as it is stored where it has that size, else by PIL's bicubic as ControlNet++.

    TIFFs, of which MultiGen has a few, are decoded, because browsers show none, and so are PNGs with texts or color
    profiles, of which ADE20K has some that PIL would refuse to read again, and what does not lie upright.
    """
    from PIL import Image

    data = file_of(cell, where)
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        refuse_deep(image, where)
        decode = image.format == "TIFF" or is_turned(image) or _has_long_notes(image)
        if image.size == (SIDE, SIDE) and not decode:
            return data
        rgb = as_rgb(image, where)
        return np.array(rgb.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def decoded(target: bytes | Picture) -> Picture:
    """What `square` gave, in RGB."""
    from PIL import Image

    if isinstance(target, bytes):
        return np.array(Image.open(io.BytesIO(target)).convert("RGB"))
    return target


def _has_long_notes(image: Any) -> bool:
    """Whether a PNG has notes whose length PIL limits: texts, behind its pixels too, and a color profile."""
    return image.format == "PNG" and bool(image.text or image.info.get("icc_profile"))


def _nested(cell: Any) -> NDArray[Any]:
    """Nested lists as an array; lines of unequal lengths are none of numbers, as other cells are none."""
    try:
        return np.array(cell)
    except ValueError:
        return np.array(None)


def file_of(cell: Any, where: str) -> bytes:
    """The bytes of an image cell that decodes."""
    data = cell.get("bytes") if isinstance(cell, Mapping) else None
    if not data:
        raise UserError(f"The picture {where} is not in the file; fetch the data again.")
    check_picture(data, where)
    return bytes(data)


def label_map(cell: Any, where: str, largest: int, also: int | None = None) -> NDArray[np.uint8]:
    """A label map at 512 × 512, nearest: stored as an image or as nested lists.

    Args:
        cell: of the row.
        where: what it is, for messages.
        largest: the largest class.
        also: one further value that may occur, for "ignored".

    Raises:
        UserError: it is no map, or has other values: a color palette, or another label space.
    """
    from PIL import Image

    if isinstance(cell, Mapping):
        labels = np.array(Image.open(io.BytesIO(file_of(cell, where)), formats=FORMATS))
    else:
        labels = _nested(cell)
    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        raise UserError(f"The label map {where} is not one number a pixel; fetch the data again.")
    values = np.unique(labels)
    if ((values > largest) & (values != also)).any() or values[0] < 0:
        raise UserError(
            f"The label map {where} has the value {values.max()}, beyond {largest}; it belongs to "
            "another label space."
        )
    small = Image.fromarray(labels.astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.NEAREST)
    return np.array(small)
