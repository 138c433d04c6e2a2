"""The results store: `<out>/results.duckdb`, written by one driver, read by anybody at any time.

Workers write parts (`write_part`), the driver holds the lock, ingests parts into a working copy and
publishes that copy by renaming it over the published file. Ingesting is idempotent, and everything
is rebuilt from the parts if the file is lost.

    with Store.open(out) as store:
        run_id = store.begin_run(RunRecord(suite=..., dataset=..., spec={}, provenance={}))
        done = store.known_outputs(key, "depth", "scenes", fingerprint)  # make only the others
        store.write_part("output", rows)  # a worker: write_part(out, "output", rows)
        store.ingest()
        store.write_aggregates([Aggregate(...)])
        store.finish_run(run_id)  # publishes
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from numpy.typing import NDArray

from editar_bench import migrations, parts, schema
from editar_bench.contracts import MetricInfo
from editar_bench.errors import UserError
from editar_bench.exchange import HERE, Exchange
from editar_bench.files import written_aside
from editar_bench.locking import WORKING, open_working, remove_leftovers, take_lock
from editar_bench.parts import disk_errors, model_key, model_label, output_id, write_part
from editar_bench.pictures import decode_picture, picture_file
from editar_bench.published import reported_at
from editar_bench.reader import PUBLISHED, Reader, database_errors, speaks_of_space
from editar_bench.records import Aggregate, OutputKey, RunRecord, ScoreKey, metric_row, now

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from filelock import BaseFileLock

__all__ = [
    "Aggregate",
    "OutputKey",
    "Reader",
    "RunRecord",
    "ScoreKey",
    "Store",
    "UserError",
    "decode_picture",
    "model_key",
    "model_label",
    "now",
    "output_id",
    "picture_file",
    "write_part",
]


class Store:
    """The driver's side of a results folder. Made by `Store.open`; a context manager."""

    def __init__(
        self, out: Path, lock: BaseFileLock, connection: DuckDBPyConnection, exchange: Exchange
    ) -> None:
        """Use `Store.open`."""
        self.out = out
        self.exchange = exchange
        self._lock = lock
        self._connection = connection
        self._taken: dict[str, set[str]] = {}  # table to the names of its ingested parts

    @classmethod
    def open(cls, out: Path, exchange: Exchange = HERE) -> Self:
        """Take the lock of `out`, make the working copy, and ingest what a killed run left.

        Args:
            out: the results folder.
            exchange: where workers leave their parts.

        Raises:
            UserError: another run holds the lock, or the file is newer, damaged or no results store.
        """
        lock = take_lock(out)
        try:
            with disk_errors(out):
                remove_leftovers(out)
                if (out / PUBLISHED).exists():
                    shutil.copyfile(out / PUBLISHED, out / WORKING)
            connection = open_working(out)
        except BaseException:
            lock.release()
            raise
        store = cls(out, lock, connection, exchange)
        try:
            with database_errors(out / PUBLISHED):
                migrations.prepare(connection, str(out / PUBLISHED))
            for table, part in store._fetch("SELECT table_name, part FROM ingested_part", []):
                store._taken.setdefault(table, set()).add(part)
            store.ingest()
            store._close_interrupted_runs()
        except BaseException:
            store.close()
            raise
        return store

    def __enter__(self) -> Self:
        """The open store itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close; what was not published stays in the parts and is ingested by the next run."""
        self.close()

    def close(self) -> None:
        """Drop the working copy and release the lock."""
        self._connection.close()
        for leftover in self.out.glob(f"{WORKING}*"):
            leftover.unlink(missing_ok=True)
        self._lock.release()

    def begin_run(self, record: RunRecord) -> str:
        """Record that a run begins; returns its id."""
        started = now()
        run_id = f"{started:%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"
        row = {
            "run_id": run_id,
            "suite": record.suite,
            "dataset": record.dataset,
            "status": "running",
            "started_at": started,
            "spec": json.dumps(dict(record.spec), default=str),
            "provenance": json.dumps(dict(record.provenance), default=str),
        }
        self.write_part("run", [row])
        self.ingest()
        return run_id

    def finish_run(
        self, run_id: str, status: Literal["finished", "failed"] = "finished", reason: str = ""
    ) -> None:
        """Record the end of a run, ingest and publish."""
        self._end_run(run_id, status, reason)
        self.publish()

    def write_part(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows as a part; queries of this store see them after `ingest`."""
        write_part(self.out, table, rows)

    def ingest(self) -> int:
        """Take in all parts not yet in the working copy; returns how many."""
        self.exchange.collect(self.out)
        count = 0
        for table in schema.FROM_PARTS:
            taken = self._taken.setdefault(table.name, set())
            new = parts.list_parts(self.out, table.name, besides=taken)
            if new:
                self._ingest_table(table.name, new)
                taken.update(path.name for path in new)
            count += len(new)
        return count

    def publish(self) -> None:
        """Ingest, checkpoint, and rename a copy of the working file over the published one.

        Published numbers are those that the code has now, of the tasks and data sets with results.
        """
        self.ingest()
        self._renew_reported()
        with database_errors(self.out / PUBLISHED):
            self._connection.execute("CHECKPOINT")
        self._connection.close()
        try:
            published = self.out / PUBLISHED
            with disk_errors(published), written_aside(published) as aside:
                shutil.copyfile(self.out / WORKING, aside)
                with aside.open("rb+") as file:
                    os.fsync(file.fileno())
        finally:
            self._connection = open_working(self.out)

    def known_outputs(
        self, model_key: str, task: str, dataset: str, dataset_fingerprint: str = ""
    ) -> dict[OutputKey, dict[str, Any]]:
        """Finished pictures of a model by sample id, repeat and seed; failed ones are not listed.

        Of several pictures with one key the newest counts. The values are rows of `output`.
        """
        rows = self._rows(
            "SELECT * FROM output WHERE model_key = ? AND task = ? AND dataset = ? "
            "AND coalesce(dataset_fingerprint, '') = ? AND status = 'ok' "
            "ORDER BY created_at NULLS FIRST",
            [model_key, str(task), dataset, dataset_fingerprint],
        )
        return {(row["sample_id"], row["repeat"], row["seed"]): row for row in rows}

    def known_scores(
        self, model_key: str, task: str, dataset: str, dataset_fingerprint: str = ""
    ) -> dict[ScoreKey, float | None]:
        """Stored scores of a model's pictures; a new metric version has a new key."""
        rows = self._fetch(
            "SELECT s.output_id, s.metric, s.protocol, s.version, s.value FROM score s "
            "JOIN output o USING (output_id) WHERE o.model_key = ? AND o.task = ? "
            "AND o.dataset = ? AND coalesce(o.dataset_fingerprint, '') = ?",
            [model_key, str(task), dataset, dataset_fingerprint],
        )
        return {(row[0], row[1], row[2], row[3]): row[4] for row in rows}

    def known_observations(
        self, model_key: str, task: str, dataset: str, dataset_fingerprint: str = ""
    ) -> set[ScoreKey]:
        """Keys of the stored observations of a model's pictures."""
        rows = self._fetch(
            "SELECT s.output_id, s.metric, s.protocol, s.version FROM observation s JOIN output o "
            "USING (output_id) WHERE o.model_key = ? AND o.task = ? AND o.dataset = ? "
            "AND coalesce(o.dataset_fingerprint, '') = ?",
            [model_key, str(task), dataset, dataset_fingerprint],
        )
        return {(row[0], row[1], row[2], row[3]) for row in rows}

    def observations(
        self, output_ids: Iterable[str], metric: str, protocol: str, version: int
    ) -> dict[str, NDArray[Any]]:
        """Stored arrays of a set-level metric by output id; ids without one are left out."""
        rows = self._fetch(
            "SELECT output_id, data, shape, dtype FROM observation WHERE metric = ? "
            "AND protocol = ? AND version = ? AND output_id IN (SELECT unnest(?::VARCHAR[]))",
            [metric, protocol, version, list(output_ids)],
        )
        return {row[0]: parts.unpack_array(row[1], row[2], row[3]) for row in rows}

    def write_observations(
        self, rows: Sequence[tuple[ScoreKey, NDArray[Any]]], run_id: str
    ) -> None:
        """Write arrays of a set-level metric as a part."""
        names = ("output_id", "metric", "protocol", "version")
        self.write_part(
            "observation",
            [
                {**dict(zip(names, key, strict=True)), "run_id": run_id, **parts.pack_array(array)}
                for key, array in rows
            ],
        )

    def write_aggregates(self, rows: Sequence[Aggregate]) -> None:
        """Write and ingest the numbers of a run; NaN and infinities are stored as undefined."""
        finished = now()
        records = [{**asdict(row.finite()), "finished_at": finished} for row in rows]
        self.write_part("aggregate", records)
        self.ingest()

    def write_metrics(self, infos: Iterable[MetricInfo]) -> None:
        """Write and ingest what the leaderboard must know of the metrics and does not know yet.

        From then on only numbers of the metric's version given here are compared.
        """
        known = self.query("SELECT * FROM metric")
        self.write_part("metric", [row for row in map(metric_row, infos) if row not in known])
        self.ingest()

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Rows of a constant query on the working copy; values go in as `?` parameters."""
        return self._rows(sql, parameters)

    def _fetch(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        with database_errors(self.out / PUBLISHED):
            return self._connection.execute(sql, list(parameters)).fetchall()

    def _rows(self, sql: str, parameters: Sequence[Any]) -> list[dict[str, Any]]:
        rows = self._fetch(sql, parameters)
        names = [column[0] for column in self._connection.description or ()]
        return [dict(zip(names, row, strict=True)) for row in rows]

    def _ingest_table(self, name: str, new: Sequence[Path]) -> None:
        statements = schema.ingest_statements(schema.TABLE[name])
        with self._transaction():
            self._take_in(name, statements, new)
            self._connection.execute(
                "INSERT INTO ingested_part SELECT ?, unnest(?::VARCHAR[])",
                [name, [path.name for path in new]],
            )

    def _renew_reported(self) -> None:
        """Make the table `reported` what the leaderboard's files say of the places that have results."""
        places = self._fetch("SELECT DISTINCT suite, task, dataset FROM aggregate", [])
        rows = [row for place in places for row in reported_at(*place)]
        values = [[row.get(name) for name in schema.TABLE["reported"].names] for row in rows]
        with self._transaction():
            self._connection.execute(schema.CLEAR_REPORTED)
            if values:
                self._connection.executemany(schema.INSERT_REPORTED, values)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of what is done inside or nothing."""
        import duckdb

        try:
            with database_errors(self.out / PUBLISHED):
                self._connection.execute("BEGIN")
                yield
                self._connection.execute("COMMIT")
        except UserError:
            with suppress(duckdb.Error):  # a full disk leaves nothing to roll back
                self._connection.execute("ROLLBACK")
            raise

    def _take_in(self, name: str, statements: schema.IngestStatements, new: Sequence[Path]) -> None:
        import duckdb

        try:
            self._connection.execute(statements.stage, [[str(path) for path in new]])
            self._connection.execute(statements.delete)
            self._connection.execute(statements.insert)
        except (duckdb.FatalException, duckdb.InternalException):
            raise  # the store itself is broken
        except duckdb.Error as error:
            if speaks_of_space(error):
                raise
            raise UserError(
                f"cannot take in the parts of {self.out / parts.PARTS / name} "
                f"({str(error).splitlines()[0]}); remove the unreadable part, then run the same "
                "command again."
            ) from error

    def _end_run(self, run_id: str, status: str, reason: str) -> None:
        rows = self._rows("SELECT * FROM run WHERE run_id = ?", [run_id])
        if not rows:
            raise ValueError(f"no run {run_id}")
        self.write_part(
            "run", [{**rows[0], "status": status, "reason": reason, "finished_at": now()}]
        )
        self.ingest()

    def _close_interrupted_runs(self) -> None:
        # Only one driver can hold the lock, so whatever still says "running" was killed.
        for row in self._rows("SELECT run_id FROM run WHERE status = 'running'", []):
            self._end_run(row["run_id"], "failed", "interrupted")
