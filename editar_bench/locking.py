"""One driver at a time: the lock of a results folder, and the working copy of its holder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from editar_bench.errors import UserError
from editar_bench.parts import PARTS, disk_errors
from editar_bench.reader import PUBLISHED

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from filelock import BaseFileLock

WORKING: Final = ".working.duckdb"
LOCK: Final = ".lock"


def take_lock(out: Path) -> BaseFileLock:
    """The lock that one driver holds on `out`; a UserError when another one has it."""
    from filelock import FileLock, Timeout

    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:  # an OSError too, so it must be caught before one
        raise UserError(
            f"another run is writing to {out}; wait until it ends or choose another --out."
        ) from error
    except OSError as error:
        raise UserError(f"cannot write to {out} ({error}); choose another --out.") from error
    return lock


@contextmanager
def database_errors(path: Path) -> Iterator[None]:
    """Turn what DuckDB says of a full disk into one sentence; the parts still have everything."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        raise UserError(
            f"cannot write {path} ({str(error).splitlines()[0]}); what was stored before is kept, "
            "free some space and run the same command again."
        ) from error


def open_working(out: Path) -> DuckDBPyConnection:
    """A connection to the working copy in `out`."""
    import duckdb

    try:
        return duckdb.connect(str(out / WORKING))
    except duckdb.Error as error:
        raise UserError(
            f"{out / PUBLISHED} cannot be opened as a results store ({str(error).splitlines()[0]}); "
            "free some space if the disk is full, or else move it away, and the next run rebuilds "
            f"it from {out / PARTS}."
        ) from error
