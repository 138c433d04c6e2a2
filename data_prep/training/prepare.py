"""A training set as paired samples: `<folder>/<task>/train-00000-of-00162.parquet`, a file a shard of the source.

One shard after the other: it is fetched where it is not here, read, written, noted, and deleted again if it was
fetched, so that the disk holds the result and one shard. The same command goes on where it was. `prepared.json` beside
the files has their checksums, and of every shard the number of samples and of rows that could not be used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from data_prep import hub_copy, paired
from data_prep.hub_fetch import Fetcher
from data_prep.training import seed_edit
from data_prep.training.pairs import Row
from data_prep.training.sets import SETS, TrainingSet
from editar_bench.errors import UserError
from editar_bench.files import file_sha256

RECORD = "prepared.json"
_FORM = 2  # of the rows; another one makes every shard anew
Done = dict[str, Any]  # of a shard: file, sha256, rows, skipped, reason, content


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What is there: of how many shards, how many samples, and what could not be used."""

    rows: int
    skipped: int
    reason: str  # of the first row that was skipped
    shards: int
    all_shards: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class _Shard:
    name: str
    open: Callable[[], Any]  # a context with the rows


def prepare(
    name: str,
    folder: Path,
    limit: int | None = None,
    advance: Callable[[int], None] = lambda count: None,
    endpoint: str | None = None,
) -> Prepared:
    """Write a training set, or as many of its shards as `limit` samples need.

    Args:
        name: of `SETS`.
        folder: of the set; `<folder>/original` may hold a copy in the original layout, which stays as it is.
        limit: samples; the shard that reaches it is written in full.
        advance: called with the samples of every shard that is there.
        endpoint: another address than the hub's own.

    Raises:
        UserError: the source is neither here nor to be reached, is damaged, or is something else.
    """
    kind = SETS[name]
    place = folder / kind.task.value
    record = _read_record(place, kind)
    shards = _shards(kind, folder / "original", endpoint)
    done: list[Done] = []
    for index, shard in enumerate(shards):
        if limit is not None and sum(d["rows"] for d in done) >= limit:
            break
        file = f"train-{index:05d}-of-{len(shards):05d}.parquet"
        if not _is_whole(place, record["shards"].get(shard.name), file):
            record["shards"][shard.name] = _write(name, kind, shard, index, place / file)
            with paired.written_aside(place / RECORD) as aside:
                aside.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        done.append(record["shards"][shard.name])
        advance(done[-1]["rows"])
    content = hashlib.sha256("".join(d["content"] for d in done).encode())
    return Prepared(
        rows=sum(d["rows"] for d in done),
        skipped=sum(d["skipped"] for d in done),
        reason=next((d["reason"] for d in done if d["skipped"]), ""),
        shards=len(done),
        all_shards=len(shards),
        fingerprint=content.hexdigest(),
    )


def _read_record(place: Path, kind: TrainingSet) -> dict[str, Any]:
    fresh = {"repository": kind.source.repository, "form": _FORM}
    try:
        record: dict[str, Any] = json.loads((place / RECORD).read_text(encoding="utf-8"))
        if {name: record[name] for name in fresh} == fresh and isinstance(record["shards"], dict):
            return record
    except (OSError, ValueError, KeyError, TypeError):
        pass  # what cannot be trusted is made again
    return fresh | {"shards": {}}


def _is_whole(place: Path, done: Done | None, file: str) -> bool:
    if done is None or done["file"] != file or not (place / file).is_file():
        return False
    return file_sha256(place / file) == str(done["sha256"])


# --- where rows come from ---


def _shards(kind: TrainingSet, original: Path, endpoint: str | None) -> list[_Shard]:
    if kind.jsonl:
        return _json_lines(original)
    here = hub_copy.shards(original, kind.source)
    if here:
        return [_Shard(path.name, partial(_local, kind, path)) for path in here]
    fetcher = Fetcher(kind.source, original, endpoint)
    return [
        _Shard(Path(path).name, partial(_fetched, kind, fetcher, path)) for path in fetcher.shards
    ]


@contextmanager
def _local(kind: TrainingSet, path: Path) -> Iterator[tuple[Iterator[Row], Path | None]]:
    yield hub_copy.shard_rows(path, kind.source), None


@contextmanager
def _fetched(
    kind: TrainingSet, fetcher: Fetcher, path: str
) -> Iterator[tuple[Iterator[Row], Path | None]]:
    target = fetcher.original / path if fetcher.is_here(path) else fetcher.bring(path)
    yield hub_copy.shard_rows(target, kind.source), None
    target.unlink()


def _json_lines(original: Path) -> list[_Shard]:
    for home in (original, original / seed_edit.HOME):
        found = sorted((home / seed_edit.ANNOTATIONS).glob("*.jsonl"))
        if found:
            pictures = seed_edit.find_pictures(found[0], original)
            return [_Shard(path.name, partial(_lines, path, pictures)) for path in found]
    raise UserError(
        f"{seed_edit.REPOSITORY} is not in {original}; its pictures are one archive in pieces, so get it by "
        f"{seed_edit.how_to_prepare(original)}"
    )


@contextmanager
def _lines(path: Path, pictures: Path) -> Iterator[tuple[Iterator[Row], Path | None]]:
    with path.open(encoding="utf-8", errors="replace") as lines:
        yield (seed_edit.row_of(line) for line in lines if line.strip()), pictures


# --- what becomes of them ---


def _write(name: str, kind: TrainingSet, shard: _Shard, index: int, path: Path) -> Done:
    """Write one shard; what is noted of it."""
    writer = _Rows(name, kind, index)
    with shard.open() as (rows, folder):
        count = paired.write_rows(writer.of(rows, folder), path, paired.features())
        if not count and writer.skipped:
            path.unlink()
            raise UserError(f"No row of {shard.name} can be used; the first: {writer.reason}")
    return {
        "file": path.name,
        "sha256": file_sha256(path),
        "rows": count,
        "skipped": writer.skipped,
        "reason": writer.reason,
        "content": writer.content.hexdigest(),
    }


class _Rows:
    """Paired rows of a shard; counts those that cannot be used, and sums up the content of the others."""

    def __init__(self, name: str, kind: TrainingSet, index: int) -> None:
        self.name, self.kind, self.index = name, kind, index
        self.skipped, self.reason = 0, ""
        self.content = hashlib.sha256()

    def of(self, rows: Iterator[Row], folder: Path | None) -> Iterator[Mapping[str, Any]]:
        for number, row in enumerate(rows):
            where = f"row {number} of shard {self.index} of {self.kind.source.repository}"
            try:
                cells = self.kind.cells(row, where, folder)
            except (UserError, KeyError) as error:
                self.skipped += 1
                lacks = f"There is no {error} in {where}."
                self.reason = self.reason or (lacks if isinstance(error, KeyError) else str(error))
                continue
            empty = {"source_caption": None, "target_caption": None, "edit_mask": None}
            names: dict[str, Any] = {
                "id": f"{self.name}-{self.index:05d}-{number:06d}",
                "category": "",
                "slices": [],
                paired.SOURCE_ID: None if self.kind.jsonl else hub_copy.source_id(row),
            }
            whole = empty | cells | names | {"task": self.kind.task.value}
            self._sum(whole)
            yield whole

    def _sum(self, row: Mapping[str, Any]) -> None:
        for column in paired.TEXT + paired.PICTURES:
            cell = row[column]
            data = cell.tobytes() if isinstance(cell, np.ndarray) else cell
            data = data if isinstance(data, bytes) else repr(data).encode()
            self.content.update(len(data).to_bytes(8, "little") + data)
