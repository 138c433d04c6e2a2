"""Where a source lies, and its rows as a stream of `datasets`: a local copy, or the hub itself.

A copy is in its original layout: Parquet shards (also in a folder `data`), the folder that `Dataset.save_to_disk` makes
of them, for SEED-Data-Edit its JSON lines beside the unpacked pictures; or it was computed by `--precompute` (then the
folder has the source's own name, since one set may serve two sources).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.hub_copy import COUNTED
from data_prep.training import seed_edit
from data_prep.training.pairs import Pair
from editar_bench.errors import UserError
from models.training.paper.samples import Sample, from_pair, from_stored
from models.training.paper.sources import Source
from models.training.paper.teacher import Crop

if TYPE_CHECKING:
    from datasets import IterableDataset

Row = Mapping[str, Any]
COMPUTED = "ways"  # the column of sources that `--precompute` wrote
TEXT_SLOTS = "number of text slots"  # said by it where text features were computed
MAKER = "made_by.json"  # beside them: sha256 of what they were computed with


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What samples must look like, and sha256 of the networks that may have computed them before."""

    side: int  # of pictures
    crop: Crop
    slots: int  # of text
    made_by: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A source that can be read: its undecoded rows, and how a row becomes a sample in one of `ways` ways."""

    source: Source
    rows: IterableDataset
    sample: Callable[[Row, int], Sample]
    ways: int
    files: Sequence[str] = ()  # that the rows come from

    def damaged(self) -> str:
        """The first Parquet file of a copy that ends in nothing of its kind; "" where none does."""
        import pyarrow.parquet

        for name in self.files:
            if name.endswith(".parquet") and not name.startswith("hf://"):
                try:
                    pyarrow.parquet.read_metadata(name)
                except (OSError, pyarrow.ArrowException):
                    return name
        return ""

    def attempt(self, row: Row, way: int) -> Sample | UserError:
        """A sample, or why there is none: of millions of foreign files some break a decoder in ways of their own."""
        try:
            return self.sample(row, way)
        except UserError as error:
            return error
        except Exception as error:
            return UserError(f"A row of {self.source.repository} cannot be used ({error!r}).")


@dataclass(frozen=True, slots=True)
class _Files:
    builder: str  # of datasets
    names: list[str]
    pictures: Path | None = None  # where pictures lie that rows only name


def open_source(source: Source, data: Path, shape: Shape) -> Opened:
    """Open a source: its copy under `data` if there is one, else the hub's repository.

    Raises:
        UserError: it is nowhere, cannot be read, has other columns, or was computed with other networks.
    """
    return _opened(source, _files(source, data), shape)


def open_shards(source: Source, data: Path, shape: Shape) -> list[Callable[[], Opened]]:
    """The files of a local copy, each to be opened as a source of its own.

    Raises:
        UserError: there is no copy.
    """
    files = _files(source, data)
    if files.names[0].startswith("hf://"):
        raise UserError(
            f"train: --precompute needs a local copy of {source.repository} in {data / source.folder}"
        )
    each = (_Files(files.builder, [name], files.pictures) for name in files.names)
    return [partial(_opened, source, one, shape) for one in each]


def _opened(source: Source, files: _Files, shape: Shape) -> Opened:
    available = _columns(_load(source, files))
    if COMPUTED in available:
        _check_maker(Path(files.names[0]).parent, shape)
        rows = _load(source, files, [COMPUTED, "failed"])
        sample = partial(_computed_sample, slots=shape.slots)
        return Opened(
            source=source, rows=rows, sample=sample, ways=len(source.ways), files=files.names
        )
    if files.pictures is not None:
        ways = [partial(way, pictures=files.pictures) for way in source.ways]
        sample = partial(_sample_of_line, source=source, ways=ways, shape=shape)
        return Opened(source=source, rows=_load(source, files), sample=sample, ways=len(ways))
    columns = list(source.columns)
    if source.preferred in available:
        columns[-1] = str(source.preferred)
    missing = [name for name in columns if name not in available]
    if missing:
        raise UserError(
            f"train: {files.names[0]} has no column {' and no '.join(missing)}; it is not "
            f"{source.repository}"
        )

    def sample_of(row: Row, way: int) -> Sample:
        return from_pair(source.ways[way](row), source.task, shape.side, shape.crop)

    return Opened(
        source=source,
        rows=_load(source, files, columns),
        sample=sample_of,
        ways=len(source.ways),
        files=files.names,
    )


def _check_maker(folder: Path, shape: Shape) -> None:
    """Codes of another codec, or features of another text encoder, would be nonsense that trains without a word."""
    try:
        maker = json.loads((folder / MAKER).read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f"train: {folder / MAKER} is missing or damaged; compute {folder} again"
        ) from error
    other = [name for name, total in maker.items() if shape.made_by.get(name) != total]
    if other:
        raise UserError(
            f"train: {folder} was computed with another {other[0]} than is to be trained with; compute it "
            "again, or name the network it was computed with"
        )


def _sample_of_line(
    row: Row, way: int, *, source: Source, ways: Sequence[Callable[[Row], Pair]], shape: Shape
) -> Sample:
    """A sample of a JSON line; of a damaged one the error says what it lacks."""
    return from_pair(ways[way](seed_edit.row_of(row["text"])), source.task, shape.side, shape.crop)


def _columns(rows: IterableDataset) -> list[str]:
    """The columns of a source."""
    return list(rows.features or next(iter(rows), {}))


def _check_counted(source: Source, found: Sequence[Path]) -> None:
    """Say that a copy is a part of its set, whose shards count themselves (`…-00000-of-00005…`).

    Raises:
        UserError: the shards are of several copies.
    """
    totals = {int(match[2]) for path in found if (match := COUNTED.search(path.name))}
    if len(totals) > 1:
        raise UserError(
            f"train: {found[0].parent} holds shards of {' and of '.join(map(str, sorted(totals)))}, "
            "so not of one copy; delete those of one, or make the folder anew"
        )
    if totals and len(found) < min(totals):
        print(f"{source.name}: {len(found)} of {min(totals)} shards are here", file=sys.stderr)


def _files(source: Source, data: Path) -> _Files:
    folder = data / source.name
    if not folder.is_dir():
        folder = data / source.folder
    if not folder.is_dir():
        if source.repository == seed_edit.REPOSITORY:
            raise UserError(
                f"train: there is no {folder}, and the pictures of {source.repository} are one archive in pieces "
                f"that cannot be streamed; prepare it by {seed_edit.how_to_prepare(folder)}"
            )
        return _Files("parquet", [f"hf://datasets/{source.repository}/**/train-*.parquet"])
    for builder, pattern in (("parquet", "train-*.parquet"), ("arrow", "*.arrow")):
        found = sorted(folder.glob(pattern)) or sorted((folder / "data").glob(pattern))
        if found:
            _check_counted(source, found)
            return _Files(builder, [str(path) for path in found])
    for root in (folder, folder / seed_edit.HOME):
        found = sorted((root / seed_edit.ANNOTATIONS).glob("*.jsonl"))
        if found:
            pictures = seed_edit.find_pictures(found[0], folder)
            return _Files("text", [str(path) for path in found], pictures)  # lines may be damaged
    raise UserError(
        f"train: {folder} holds neither train-*.parquet nor *.arrow nor annotations/*.jsonl; "
        f"fetch {source.repository} again, or move the folder away to stream it from the hub"
    )


def _load(source: Source, files: _Files, columns: list[str] | None = None) -> IterableDataset:
    """The rows of some files, pictures undecoded; Parquet reads only the wanted columns."""
    from datasets import Image, load_dataset

    how: dict[str, Any] = {"encoding_errors": "replace"} if files.builder == "text" else {}
    if columns and files.builder == "parquet":
        how = {"columns": columns}
    try:
        rows = load_dataset(
            files.builder,
            data_files={"train": files.names},
            split="train",
            streaming=True,
            **how,
        )
    except Exception as error:  # file systems, the network and pyarrow raise their own kinds
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise UserError(
            f"train: {source.name} cannot be opened ({reason}); it is read from {files.names[0]}, "
            "and a local copy would be found in the folder that --data names"
        ) from error
    for name, kind in (rows.features or {}).items():
        if isinstance(kind, Image):
            rows = rows.cast_column(name, Image(decode=False))
    return rows.select_columns(columns) if columns else rows


def _computed_sample(row: Row, way: int, slots: int) -> Sample:
    """A sample computed before; rows that failed then fail again."""
    if row["failed"] is not None:
        raise UserError(row["failed"])
    return from_stored(row[COMPUTED][way], slots)
