"""One driver at a time: the lock of a results folder, and the working copy of its holder."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from editar_bench.errors import UserError
from editar_bench.parts import PARTS, disk_errors
from editar_bench.reader import PUBLISHED, confine, database_errors

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from filelock import BaseFileLock

WORKING: Final = ".working.duckdb"
LOCK: Final = ".lock"
STALE: Final = 3600  # seconds after which a half-written part is nobody's: workers and pages write without the lock


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


def remove_leftovers(out: Path) -> None:
    """Remove what a killed driver or writer left half written in `out`; the caller holds the lock."""
    for pattern in (f"{WORKING}*", f".{PUBLISHED}.*"):
        for leftover in out.glob(pattern):
            leftover.unlink()
    for aside in (out / PARTS).glob("*/.*.tmp"):
        with suppress(FileNotFoundError):  # its writer has just finished
            if time.time() - aside.stat().st_mtime > STALE:
                aside.unlink()


def open_working(out: Path) -> DuckDBPyConnection:
    """A connection to the working copy in `out`."""
    import duckdb

    with database_errors(out / PUBLISHED):
        connection = duckdb.connect(str(out / WORKING))
        confine(connection, out)
    return connection
