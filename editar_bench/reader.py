"""Reading the published results: no lock, never in a run's way, always the newest file.

Each reader attaches the file to its own in-memory database. (Opening the path twice in one process
would give DuckDB's cached instance of the file that was there first, even after another was renamed
over it.)
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, Final

from editar_bench import migrations, parts
from editar_bench.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    from duckdb import DuckDBPyConnection

PUBLISHED: Final = "results.duckdb"
FILTERS: Final = ("suite", "task", "dataset", "model", "metric", "protocol", "kind", "status")

# A filter that is NULL lets everything through, so that the statement stays one constant.
_WHERE: Final = " AND ".join(f"(?::VARCHAR[] IS NULL OR list_contains(?, {f}))" for f in FILTERS)
_VIEW_QUERIES: Final = {
    view: f"SELECT * FROM {view} WHERE {_WHERE} ORDER BY ALL"
    for view in ("leaderboard", "leaderboard_runs", "leaderboard_slices", "leaderboard_best")
}
# Columns of leaderboard_best, the number taken out.
_OUTDATED: Final = """
    SELECT * REPLACE (
        NULL::DOUBLE AS value, NULL::DOUBLE AS ci_low, NULL::DOUBLE AS ci_high, 0 AS n, 0 AS n_undefined,
        NULL::DOUBLE AS gap_closed, NULL::DOUBLE AS gap_low, NULL::DOUBLE AS gap_high, '' AS gap_reason,
        'outdated' AS status,
        'made with an older version of the metric; run it again' AS reason)
    FROM leaderboard_all old
    WHERE NOT is_current AND slice = '' AND value IS NOT NULL AND NOT EXISTS (
        FROM leaderboard_best new WHERE new.suite = old.suite AND new.task = old.task
        AND new.dataset = old.dataset AND new.model = old.model AND new.metric = old.metric
        AND new.protocol = old.protocol AND new.slice = '')
    QUALIFY row_number() OVER (
        PARTITION BY suite, task, dataset, model, metric, protocol ORDER BY finished_at DESC) = 1
    ORDER BY ALL
"""


@contextmanager
def database_errors(path: Path) -> Iterator[None]:
    """Turn what DuckDB says of a full disk or a damaged store into one sentence; the parts still have everything."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        said = str(error).splitlines()[0]
        if speaks_of_space(error):
            raise UserError(
                f"cannot write {path} ({said}); what was stored before is kept, free some space and "
                "run the same command again."
            ) from error
        raise UserError(
            f"{path} cannot be read as a results store ({said}); move it away, and the next run "
            "rebuilds it from the parts beside it."
        ) from error


def confine(connection: DuckDBPyConnection, out: Path) -> None:
    """Let a store that is open read its own parts and nothing else.

    A store may come from elsewhere, and views in it can read any file or address that DuckDB reaches.
    """
    folder = str(out / parts.PARTS).replace("'", "''")
    connection.execute(f"SET allowed_directories = ['{folder}']")
    connection.execute("SET enable_external_access = false")


def speaks_of_space(error: Exception) -> bool:
    """Whether DuckDB, which has no error of its own for it, says that the disk or the memory is full."""
    text = str(error).lower()
    return any(words in text for words in ("no space left", "quota exceeded", "out of memory"))


class Reader:
    """A read-only look at `<out>/results.duckdb`; safe to share between threads."""

    def __init__(self, out: Path) -> None:
        """Nothing is opened before the first query."""
        self.out = out
        self._mutex = threading.RLock()
        self._connection: DuckDBPyConnection | None = None
        self._opened: tuple[int, ...] = ()

    def stamp(self) -> tuple[int, ...]:
        """What changes whenever a run publishes; a good cache key.

        Raises:
            UserError: nothing has been published.
        """
        path = self.out / PUBLISHED
        try:
            stat = path.stat()
        except OSError as error:
            raise UserError(
                f"there are no results at {path} yet; make some with "
                f"`editar-bench run --task all --out {quote(str(self.out))}`."
            ) from error
        return (stat.st_ino, stat.st_mtime_ns, stat.st_size)

    def frame(self, sql: str, parameters: Sequence[Any] = ()) -> pd.DataFrame:
        """The result of a constant query as a data frame."""
        with self._mutex, database_errors(self.out / PUBLISHED):
            return self._current().execute(sql, list(parameters)).df()

    def leaderboard(self, **filters: str | Sequence[str]) -> pd.DataFrame:
        """The view `leaderboard`: a row per suite, task, dataset, model, metric and protocol.

        Args:
            **filters: any of `FILTERS`, one value or several.
        """
        return self._view("leaderboard", filters)

    def runs(self, **filters: str | Sequence[str]) -> pd.DataFrame:
        """The view `leaderboard_runs`: the same columns, every run."""
        return self._view("leaderboard_runs", filters)

    def slices(self, **filters: str | Sequence[str]) -> pd.DataFrame:
        """The view `leaderboard_slices`: the same columns and `slice`."""
        return self._view("leaderboard_slices", filters)

    def details(self, **filters: str | Sequence[str]) -> pd.DataFrame:
        """Rows of `leaderboard` (slice "") and `leaderboard_slices` with further columns.

        These are gap_closed, gap_low, gap_high, gap_reason and n_undefined.
        """
        return self._view("leaderboard_best", filters)

    def outdated(self) -> pd.DataFrame:
        """Rows like those of `details`, of whole splits, where only an older version of the metric has a number.

        That number is not in them; their status is "outdated".
        """
        return self.frame(_OUTDATED)

    def metrics(self) -> pd.DataFrame:
        """The table `metric`."""
        return self.frame("SELECT * FROM metric ORDER BY metric, protocol")

    def run_list(self) -> pd.DataFrame:
        """Runs, newest first, without their records."""
        return self.frame(
            "SELECT run_id, suite, dataset, status, reason, started_at, finished_at FROM run "
            "ORDER BY started_at DESC"
        )

    def run_record(self, run_id: str) -> dict[str, Any]:
        """All that was recorded of a run, JSON decoded; empty when there is no such run."""
        rows = self.frame("SELECT * FROM run WHERE run_id = ?", [run_id]).to_dict("records")
        if not rows:
            return {}
        record = {str(name): value for name, value in rows[0].items()}
        for name in ("spec", "provenance"):
            record[name] = json.loads(record[name] or "{}")
        return record

    def data_remarks(self, run_id: str) -> dict[str, list[str]]:
        """`task/dataset` to what the run found remarkable about its data, such as changed pictures."""
        record = self.run_record(run_id)
        remarks = record.get("provenance", {}).get("data_remarks", {})
        # Runs of earlier versions had one data set and named the task alone.
        return {k if "/" in k else f"{k}/{record['dataset']}": v for k, v in remarks.items()}

    def votes(self) -> pd.DataFrame:
        """All votes: those in the store and those in parts that no run has ingested yet."""
        with self._mutex, database_errors(self.out / PUBLISHED):
            connection = self._current()
            done = connection.execute(
                "SELECT part FROM ingested_part WHERE table_name = 'vote'"
            ).fetchall()
            ingested = {row[0] for row in done}
            new = [str(path) for path in parts.list_parts(self.out, "vote", besides=ingested)]
            if not new:
                return connection.execute("SELECT * FROM vote ORDER BY created_at").df()
            return connection.execute(
                "SELECT * FROM (SELECT * FROM vote WHERE vote_id NOT IN "
                "(SELECT vote_id FROM read_parquet($1)) "
                "UNION ALL BY NAME SELECT * FROM read_parquet($1, union_by_name = true)) "
                "ORDER BY created_at",
                [new],
            ).df()

    def close(self) -> None:
        """Let go of the file."""
        with self._mutex:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _view(self, view: str, filters: dict[str, Any]) -> pd.DataFrame:
        unknown = set(filters) - set(FILTERS)
        if unknown:
            raise ValueError(
                f"no filter {', '.join(sorted(unknown))}; there are {', '.join(FILTERS)}"
            )
        parameters: list[Any] = []
        for name in FILTERS:
            chosen = filters.get(name)
            values = [chosen] if isinstance(chosen, str) else chosen
            parameters += [None if values is None else [str(value) for value in values]] * 2
        return self.frame(_VIEW_QUERIES[view], parameters)

    def _current(self) -> DuckDBPyConnection:
        stamp = self.stamp()
        if self._connection is None or stamp != self._opened:
            self.close()
            self._connection = _attach(self.out / PUBLISHED)
            self._opened = stamp
        return self._connection


def _attach(path: Path) -> DuckDBPyConnection:
    import duckdb

    connection = duckdb.connect()
    try:
        connection.execute("ATTACH ? AS published (READ_ONLY)", [str(path)])
        confine(connection, path.parent)
        connection.execute("USE published")
        version = migrations.stored_version(connection)
        if version is None:
            raise UserError(f"{path} is not a results store; choose another --out.")
        migrations.refuse_unknown(version, str(path))
        if version < migrations.SCHEMA_VERSION:
            raise UserError(
                f"{path} was written by an older editar-bench (results version {version}, this one "
                f"reads {migrations.SCHEMA_VERSION}); `editar-bench run` brings it up to date."
            )
    except BaseException:
        connection.close()
        raise
    return connection
