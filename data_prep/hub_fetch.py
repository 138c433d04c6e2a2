"""The shards of a split from the hub, with the columns that are read and no others.

A shard whose every column is wanted is downloaded as it is, goes on where it stopped, and has the hub's checksum.
Of the others only the byte ranges of the wanted columns travel. Each appears whole or not at all; `fetched.json` beside
them says which revision they are of and their checksums, so that the same command fetches what is missing or damaged
and nothing else.
"""

from __future__ import annotations

import fnmatch
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from data_prep.hub_copy import HubSplit, wanted
from data_prep.paired import written_aside
from data_prep.untrusted import inside
from editar_bench.errors import UserError
from editar_bench.files import file_sha256

RECORD = "fetched.json"
_FOLDERS = (".", "data")  # where shards lie in a repository
_ROWS = 50  # written at once

Remote = Any  # huggingface_hub's RepoFile: path, size, lfs


def fetch(
    source: HubSplit,
    original: Path,
    advance: Callable[[int], None] = lambda size: None,
    endpoint: str | None = None,
) -> int:
    """Bring the shards of a split into the copy; returns how many were not there.

    Args:
        source: which split and columns.
        original: the copy.
        advance: called with the size of every shard that is there, in bytes.
        endpoint: another address than the hub's own.

    Raises:
        UserError: the hub or the data set cannot be reached, has no such split or columns, a shard arrives damaged, or
            the disk is too small; what has been fetched is kept.
    """
    fetcher = Fetcher(source, original, endpoint)
    lacking = [name for name in fetcher.shards if not fetcher.is_here(name)]
    _check_space(original, sum(fetcher.shards[name].size for name in lacking))
    for name, shard in fetcher.shards.items():
        if name in lacking:
            fetcher.bring(name)
        advance(shard.size)
    return len(lacking)


class Fetcher:
    """The shards of a split, each brought when it is asked for.

    `shards` are those that the hub has, by path and in order.

    Args:
        source: which split and columns.
        original: the copy.
        endpoint: another address than the hub's own.

    Raises:
        UserError: as `fetch`.
    """

    def __init__(self, source: HubSplit, original: Path, endpoint: str | None = None) -> None:
        self.source, self.original, self.endpoint = source, original, endpoint
        self._record = _read_record(original, source)
        with _network(source):
            found = _listed(source, self._record, endpoint)
        if not found:
            raise UserError(f"{source.repository} has no file {source.pattern} any more.")
        self.shards: dict[str, Remote] = {shard.path: shard for shard in found}

    def is_here(self, name: str) -> bool:
        """Whether a shard is in the copy, and whole."""
        return _is_here(self.original / name, self._record["shards"].get(name))

    def bring(self, name: str) -> Path:
        """Fetch a shard and note its checksum; returns where it is."""
        target = inside(self.original, name)
        _check_space(self.original, self.shards[name].size)
        with _network(self.source):
            _fetch_shard(
                self.source,
                self._record["revision"],
                self.shards[name],
                self.original,
                target,
                self.endpoint,
            )
        self._record["shards"][name] = file_sha256(target)
        with written_aside(self.original / RECORD) as aside:
            aside.write_text(json.dumps(self._record, indent=1) + "\n", encoding="utf-8")
        return target


def _read_record(original: Path, source: HubSplit) -> dict[str, Any]:
    """What was fetched before; the revision of the first time holds for all shards."""
    path = original / RECORD
    fresh = {"repository": source.repository, "columns": list(source.columns)}
    if path.is_file():
        try:
            record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if {name: record[name] for name in fresh} == fresh and record["shards"] is not None:
                return record
        except (OSError, ValueError, KeyError, TypeError):
            pass
        raise UserError(
            f"{path} does not belong to {source.repository} as it is read now; delete the folder "
            f"{original} and run `{source.command}` again."
        )
    return fresh | {"revision": None, "shards": {}}


def _listed(source: HubSplit, record: dict[str, Any], endpoint: str | None) -> list[Remote]:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    api = HfApi(endpoint=endpoint)
    record["revision"] = record["revision"] or api.dataset_info(source.repository).sha
    tree = api.list_repo_tree(
        source.repository, repo_type="dataset", revision=record["revision"], recursive=True
    )
    found = {file.path: file for file in tree if isinstance(file, RepoFile)}
    return [found[path] for path in sorted(found) if _is_shard(PurePosixPath(path), source)]


def _is_shard(path: PurePosixPath, source: HubSplit) -> bool:
    return str(path.parent) in _FOLDERS and fnmatch.fnmatchcase(path.name, source.pattern)


def _is_here(path: Path, sha256: str | None) -> bool:
    return sha256 is not None and path.is_file() and file_sha256(path) == sha256


def _check_space(original: Path, needed: int) -> None:
    place = next(p for p in (original.resolve(), *original.resolve().parents) if p.exists())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise UserError(
            f"Fetching needs up to {needed / 1e9:.1f} GB and {place} has {free / 1e9:.1f} GB free; "
            "free some space or name another data folder in EDITAR_BENCH_DATA."
        )


def _fetch_shard(
    source: HubSplit,
    revision: str,
    shard: Remote,
    original: Path,
    target: Path,
    endpoint: str | None,
) -> None:
    import pyarrow.parquet
    from huggingface_hub import HfFileSystem

    system = HfFileSystem(endpoint=endpoint, skip_instance_cache=True)
    place = f"datasets/{source.repository}@{revision}/{shard.path}"
    # No cache: pyarrow asks for the very ranges it needs, and joins near ones.
    with system.open(place, "rb", cache_type="none") as remote:
        file = pyarrow.parquet.ParquetFile(remote, pre_buffer=True)
        names = file.schema_arrow.names
        lacks = [name for name in source.columns if name not in names]
        if lacks:
            raise UserError(
                f"{shard.path} of {source.repository} has no column {' and no '.join(lacks)} any "
                "more; this version of editar-bench does not know the data."
            )
        chosen = wanted(source, names)
        if set(names) > set(chosen):
            _copy_columns(file, chosen, target)
            return
    _download(source, revision, shard, original, target, endpoint)


def _copy_columns(file: Any, columns: list[str], target: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    # Without metadata: `datasets` keeps the list of all columns there.
    schema = pyarrow.schema([file.schema_arrow.field(name) for name in columns])
    rows = 0
    with written_aside(target) as aside, pyarrow.parquet.ParquetWriter(aside, schema) as out:
        for batch in file.iter_batches(batch_size=_ROWS, columns=columns):
            out.write_batch(batch.select(columns).cast(schema))
            rows += batch.num_rows
        if rows != file.metadata.num_rows:
            raise UserError(f"{target.name} ended early: {rows} of {file.metadata.num_rows} rows.")


def _download(
    source: HubSplit,
    revision: str,
    shard: Remote,
    original: Path,
    target: Path,
    endpoint: str | None,
) -> None:
    """The whole file; a part of it that is here from before is not fetched again."""
    from huggingface_hub import hf_hub_download

    hf_hub_download(
        source.repository,
        shard.path,
        repo_type="dataset",
        revision=revision,
        local_dir=original,
        endpoint=endpoint,
    )
    if shard.lfs is not None and file_sha256(target) != shard.lfs.sha256:
        target.unlink()
        raise UserError(
            f"{shard.path} of {source.repository} arrived damaged and was deleted; run "
            f"`{source.command}` again."
        )


@contextmanager
def _network(source: HubSplit) -> Iterator[None]:
    """Whatever goes wrong between here and the hub, in one sentence."""
    try:
        yield
    except UserError:
        raise
    except (
        Exception
    ) as error:  # the hub's client, its HTTP library and pyarrow have their own kinds
        text = str(error).strip()
        reason = text.splitlines()[0] if text else type(error).__name__
        raise UserError(
            f"{source.repository} cannot be fetched ({reason}); `{source.command}` goes on where it "
            "was, and a copy of the repository in the folder `original` of the data set does as well."
        ) from error
