"""Parts: small Parquet files that workers and pages leave under `<out>/parts/<table>/`.

A part is written aside and renamed, so one that can be listed is whole. Names sort by time of
writing, so that of two rows with one key the later one wins. Here are also the keys of models and
pictures.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from editar_bench.errors import UserError
from editar_bench.files import written_aside
from editar_bench.schema import TABLE, Table

if TYPE_CHECKING:
    import pyarrow as pa

PARTS: Final = "parts"


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full disk or a missing right into one sentence; what was stored before stays."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise UserError(
            f"cannot write {path} ({error.strerror or error}); what was stored before is kept, "
            f"{'free some space' if full else 'mend this'} and run the same command again."
        ) from error


def _digest(*values: object) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def model_key(name: str, settings: Mapping[str, Any], fingerprint: Mapping[str, str]) -> str:
    """The identity of a model: equal keys mean that stored pictures may be used again."""
    return _digest(name, dict(settings), dict(fingerprint))


def model_label(name: str, changed: Mapping[str, Any]) -> str:
    """The name with the settings that are not the defaults: `name:guidance=9,steps=50`."""
    if not changed:
        return name
    return name + ":" + ",".join(f"{key}={changed[key]}" for key in sorted(changed))


def output_id(
    model_key: str,
    task: str,
    dataset: str,
    dataset_fingerprint: str,
    sample_id: str,
    repeat: int,
    seed: int,
    picture_hash: str,
) -> str:
    """The key of one produced picture; scores belong to it, not to the sample."""
    return _digest(
        model_key, str(task), dataset, dataset_fingerprint, sample_id, repeat, seed, picture_hash
    )


def pack_array(array: NDArray[Any]) -> dict[str, Any]:
    """The `data`, `shape` and `dtype` columns of an observation."""
    contiguous = np.ascontiguousarray(array)
    return {
        "data": contiguous.tobytes(),
        "shape": list(array.shape),
        "dtype": contiguous.dtype.str,
    }


def unpack_array(data: bytes, shape: Sequence[int], dtype: str) -> NDArray[Any]:
    """The array that `pack_array` packed (read-only)."""
    return np.frombuffer(data, dtype=np.dtype(dtype)).reshape(tuple(shape))


def write_part(out: Path, table: str, rows: Sequence[Mapping[str, Any]]) -> Path | None:
    """Write rows of one table as a new part; needs no lock, so any worker or page may call it.

    Args:
        out: the results folder.
        table: a name in `schema.TABLE`.
        rows: column name to value; columns left out are NULL, key columns are required, and of two
            rows with the same key the last one counts.

    Returns:
        The part's path; None when there were no rows.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not rows:
        return None
    spec = TABLE[table]
    by_key: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        by_key[_checked_key(spec, row)] = {name: row.get(name) for name in spec.names}
    content = pa.Table.from_pylist(list(by_key.values()), schema=_arrow_schema(spec))
    folder = out / PARTS / table
    name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:12]}.parquet"
    with disk_errors(folder / name):
        folder.mkdir(parents=True, exist_ok=True)
        with written_aside(folder / name) as aside:
            pq.write_table(content, aside, compression="zstd")
    return folder / name


def list_parts(out: Path, table: str, besides: Collection[str] = ()) -> list[Path]:
    """All whole parts of a table, oldest first, but for those whose names are in `besides`."""
    folder = out / PARTS / table
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
    except FileNotFoundError:
        return []
    whole = (name for name in names if name[0].isdigit() and name.endswith(".parquet"))
    return [folder / name for name in sorted(name for name in whole if name not in besides)]


def _checked_key(spec: Table, row: Mapping[str, Any]) -> tuple[Any, ...]:
    unknown = set(row) - set(spec.names)
    if unknown:
        raise ValueError(f"table {spec.name} has no column {', '.join(sorted(unknown))}")
    key = tuple(row.get(name) for name in spec.key_names)
    if None in key:
        raise ValueError(f"a row of {spec.name} needs {', '.join(spec.key_names)}; got {key}")
    return key


def _arrow_schema(spec: Table) -> pa.Schema:
    import pyarrow as pa

    types = {
        "VARCHAR": pa.string(),
        "VARCHAR[]": pa.list_(pa.string()),
        "BIGINT": pa.int64(),
        "BIGINT[]": pa.list_(pa.int64()),
        "UBIGINT": pa.uint64(),
        "DOUBLE": pa.float64(),
        "BOOLEAN": pa.bool_(),
        "BLOB": pa.binary(),
        "TIMESTAMP": pa.timestamp("us"),
    }
    return pa.schema([(name, types[kind]) for name, kind in spec.columns])
