"""The version of the results store, and the way from an older version to this one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from editar_bench.errors import UserError
from editar_bench.schema import TABLES, VIEWS, Table

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

SCHEMA_VERSION: Final = 4

_BOOKKEEPING: Final = (
    "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS ingested_part (table_name VARCHAR, part VARCHAR)",
)

# MIGRATIONS[v] takes a store of version v to v + 1.
MIGRATIONS: Final[Mapping[int, tuple[str, ...]]] = {
    1: (
        "ALTER TABLE output ADD COLUMN machine VARCHAR",
        "ALTER TABLE aggregate ADD COLUMN gap_reason VARCHAR",
    ),
    2: (
        "CREATE TABLE IF NOT EXISTS judge_reply (output_id VARCHAR, prompt_hash VARCHAR, judge VARCHAR, "
        "repeat BIGINT, run_id VARCHAR, snapshot VARCHAR, status VARCHAR, reason VARCHAR, reply VARCHAR, "
        "raw VARCHAR, prompt_tokens BIGINT, completion_tokens BIGINT, created_at TIMESTAMP)",
    ),
    3: (),  # the view leaderboard_best orders otherwise; views are made anew at every opening
}


def _create_table(table: Table) -> str:
    columns = ", ".join(f'"{name}" {kind}' for name, kind in table.columns)
    return f"CREATE TABLE IF NOT EXISTS {table.name} ({columns})"


def _tables_in(connection: DuckDBPyConnection) -> set[str]:
    rows = connection.execute(
        "SELECT table_name FROM duckdb_tables() WHERE database_name = current_database()"
    ).fetchall()
    return {row[0] for row in rows}


def stored_version(connection: DuckDBPyConnection) -> int | None:
    """The schema version of the current database; None when it is not a results store."""
    if "schema_version" not in _tables_in(connection):
        return None
    row = connection.execute(
        "SELECT max(TRY_CAST(version AS BIGINT)) FROM schema_version"
    ).fetchone()
    return None if row is None or row[0] is None else int(row[0])


def prepare(
    connection: DuckDBPyConnection,
    where: str,
    target: int = SCHEMA_VERSION,
    migrations: Mapping[int, tuple[str, ...]] = MIGRATIONS,
) -> None:
    """Make an empty database a store, or bring an older store to version `target`.

    Raises:
        UserError: the store was written by a newer version or by none at all, or is some other database.
    """
    version = stored_version(connection)
    if version is None:
        if _tables_in(connection):
            raise UserError(f"{where} is a database of something else; choose another --out.")
        version = target
        for statement in (*_BOOKKEEPING, *map(_create_table, TABLES)):
            connection.execute(statement)
        connection.execute("INSERT INTO schema_version VALUES (?)", [version])
    refuse_unknown(version, where, target, migrations)
    for step in range(version, target):
        connection.execute("BEGIN")
        for statement in migrations[step]:
            connection.execute(statement)
        connection.execute("UPDATE schema_version SET version = ?", [step + 1])
        connection.execute("COMMIT")
    for view in VIEWS:
        connection.execute(view)


def refuse_unknown(
    version: int,
    where: str,
    target: int = SCHEMA_VERSION,
    migrations: Mapping[int, tuple[str, ...]] = MIGRATIONS,
) -> None:
    """Raise a UserError when a store is newer than this code, or of a version that no code ever wrote."""
    if version > target:
        raise UserError(
            f"{where} was written by a newer editar-bench (results version {version}, this one "
            f"reads up to {target}); upgrade editar-bench or choose another --out."
        )
    if any(step not in migrations for step in range(version, target)):
        raise UserError(
            f"{where} says that it is of results version {version}, which no editar-bench wrote; "
            "move it away, and the next run rebuilds it from the parts beside it."
        )
