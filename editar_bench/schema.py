"""The tables and views of the results store.

Everything that becomes part of an SQL statement stands in this file as a constant; values always
travel as parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table: its columns with DuckDB types; the first `keys` columns identify a row."""

    name: str
    keys: int
    columns: tuple[tuple[str, str], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(name for name, _ in self.columns)

    @property
    def key_names(self) -> tuple[str, ...]:
        """The columns that identify a row; a later row replaces an earlier one."""
        return self.names[: self.keys]


_MEASURED: Final = (
    ("value", "DOUBLE"),
    ("ci_low", "DOUBLE"),
    ("ci_high", "DOUBLE"),
    ("n", "BIGINT"),
    ("n_expected", "BIGINT"),
    ("higher_is_better", "BOOLEAN"),
)

TABLES: Final[tuple[Table, ...]] = (
    Table(
        name="run",
        keys=1,
        columns=(
            ("run_id", "VARCHAR"),
            ("suite", "VARCHAR"),
            ("dataset", "VARCHAR"),
            ("status", "VARCHAR"),  # running | finished | failed
            ("reason", "VARCHAR"),
            ("started_at", "TIMESTAMP"),  # UTC, as every time here
            ("finished_at", "TIMESTAMP"),
            ("spec", "VARCHAR"),  # JSON of the RunSpec
            ("provenance", "VARCHAR"),  # JSON: code, packages, hardware, weights, data, settings
        ),
    ),
    Table(
        name="sample",
        keys=4,
        columns=(
            ("task", "VARCHAR"),
            ("dataset", "VARCHAR"),
            ("dataset_fingerprint", "VARCHAR"),
            ("sample_id", "VARCHAR"),
            ("suite", "VARCHAR"),
            ("position", "BIGINT"),  # in the split's fixed order
            ("prompt", "VARCHAR"),
            ("source_caption", "VARCHAR"),
            ("target_caption", "VARCHAR"),
            ("category", "VARCHAR"),
            ("slices", "VARCHAR[]"),
            ("condition_path", "VARCHAR"),  # paths are relative to the output folder
            ("target_path", "VARCHAR"),
        ),
    ),
    Table(
        name="output",
        keys=1,
        columns=(
            ("output_id", "VARCHAR"),
            ("run_id", "VARCHAR"),
            ("suite", "VARCHAR"),
            ("task", "VARCHAR"),
            ("dataset", "VARCHAR"),
            ("dataset_fingerprint", "VARCHAR"),
            ("model", "VARCHAR"),  # with its non-default settings
            ("model_key", "VARCHAR"),
            ("kind", "VARCHAR"),  # measured | reference
            ("sample_id", "VARCHAR"),
            ("repeat", "BIGINT"),
            ("seed", "UBIGINT"),
            ("status", "VARCHAR"),  # ok | failed
            ("reason", "VARCHAR"),
            ("picture_hash", "VARCHAR"),
            ("path", "VARCHAR"),
            ("seconds", "DOUBLE"),
            ("peak_memory_bytes", "BIGINT"),
            ("batch_size", "BIGINT"),
            ("device", "VARCHAR"),
            ("machine", "VARCHAR"),  # processor or GPU, cores, threads
            ("created_at", "TIMESTAMP"),
        ),
    ),
    Table(
        name="score",
        keys=4,
        columns=(
            ("output_id", "VARCHAR"),
            ("metric", "VARCHAR"),
            ("protocol", "VARCHAR"),
            ("version", "BIGINT"),
            ("run_id", "VARCHAR"),
            ("value", "DOUBLE"),  # NULL: undefined, see reason
            ("reason", "VARCHAR"),
        ),
    ),
    Table(
        name="observation",
        keys=4,
        columns=(
            ("output_id", "VARCHAR"),
            ("metric", "VARCHAR"),
            ("protocol", "VARCHAR"),
            ("version", "BIGINT"),
            ("run_id", "VARCHAR"),
            ("data", "BLOB"),  # C order
            ("shape", "BIGINT[]"),
            ("dtype", "VARCHAR"),
        ),
    ),
    Table(
        name="judge_reply",
        keys=4,
        columns=(
            ("output_id", "VARCHAR"),
            (
                "prompt_hash",
                "VARCHAR",
            ),  # of the question's sentences; the run's spec has them in full
            ("judge", "VARCHAR"),  # the model that was asked
            ("repeat", "BIGINT"),  # the same question may be asked several times
            ("run_id", "VARCHAR"),
            ("snapshot", "VARCHAR"),  # the model that answered
            ("status", "VARCHAR"),  # ok | failed
            ("reason", "VARCHAR"),
            ("reply", "VARCHAR"),  # the text
            ("raw", "VARCHAR"),  # the whole answer
            ("prompt_tokens", "BIGINT"),
            ("completion_tokens", "BIGINT"),
            ("created_at", "TIMESTAMP"),
        ),
    ),
    Table(
        name="aggregate",
        keys=8,
        columns=(
            ("run_id", "VARCHAR"),
            ("suite", "VARCHAR"),
            ("task", "VARCHAR"),
            ("dataset", "VARCHAR"),
            ("model", "VARCHAR"),
            ("metric", "VARCHAR"),
            ("protocol", "VARCHAR"),
            ("slice", "VARCHAR"),  # '' is the whole split
            ("version", "BIGINT"),
            ("model_key", "VARCHAR"),
            ("kind", "VARCHAR"),
            *_MEASURED,
            ("n_undefined", "BIGINT"),  # scored, but the metric has no value there
            ("status", "VARCHAR"),  # ok | unsupported | failed; the views say partial
            ("reason", "VARCHAR"),
            ("gap_closed", "DOUBLE"),
            ("gap_low", "DOUBLE"),
            ("gap_high", "DOUBLE"),
            ("gap_reason", "VARCHAR"),  # why there is no gap_closed where the metric has one
            ("finished_at", "TIMESTAMP"),
        ),
    ),
    Table(
        name="metric",
        keys=2,
        columns=(
            ("metric", "VARCHAR"),
            ("protocol", "VARCHAR"),
            ("version", "BIGINT"),
            ("unit", "VARCHAR"),
            ("higher_is_better", "BOOLEAN"),
            ("tasks", "VARCHAR[]"),
            ("gap", "VARCHAR"),  # the floor of gap_closed, or none
            ("set_level", "BOOLEAN"),
            ("description", "VARCHAR"),
        ),
    ),
    Table(
        name="reported",
        keys=6,
        columns=(
            ("suite", "VARCHAR"),
            ("task", "VARCHAR"),
            ("dataset", "VARCHAR"),
            ("model", "VARCHAR"),
            ("metric", "VARCHAR"),
            ("protocol", "VARCHAR"),
            *_MEASURED,
            ("source", "VARCHAR"),
            ("mark", "VARCHAR"),  # how the number reached us
        ),
    ),
    Table(
        name="vote",
        keys=1,
        columns=(
            ("vote_id", "VARCHAR"),
            ("created_at", "TIMESTAMP"),
            ("voter", "VARCHAR"),
            ("suite", "VARCHAR"),
            ("task", "VARCHAR"),
            ("dataset", "VARCHAR"),
            ("sample_id", "VARCHAR"),
            ("question", "VARCHAR"),
            ("left_output_id", "VARCHAR"),
            ("right_output_id", "VARCHAR"),
            ("choice", "VARCHAR"),  # left | right | tie
        ),
    ),
)
TABLE: Final[Mapping[str, Table]] = {table.name: table for table in TABLES}

# Published numbers come with the code, so parts that earlier versions wrote of them are not taken in.
FROM_PARTS: Final = tuple(table for table in TABLES if table.name != "reported")

# A number made with an older version of its metric stays in leaderboard_runs, but is not compared
# with newer ones. "partial" means samples are missing; where a metric is undefined, none is.
VIEWS: Final = (
    """
    CREATE OR REPLACE VIEW leaderboard_all AS
    SELECT a.suite, a.task, a.dataset, a.model, a.metric, a.protocol, a.slice, a.value,
           a.ci_low, a.ci_high, a.n, a.n_expected, a.higher_is_better, a.kind,
           CASE WHEN a.status = 'ok' AND a.n + coalesce(a.n_undefined, 0) < a.n_expected
                THEN 'partial' ELSE a.status END AS status,
           CASE WHEN a.status = 'ok' AND a.n + coalesce(a.n_undefined, 0) < a.n_expected
                     AND coalesce(a.reason, '') = ''
                THEN a.n || ' of ' || a.n_expected || ' samples'
                WHEN a.status = 'ok' AND a.n_undefined > 0 AND coalesce(a.reason, '') = ''
                THEN 'undefined for ' || a.n_undefined || ' of ' || a.n_expected || ' samples'
                ELSE coalesce(a.reason, '') END AS reason,
           a.run_id, a.finished_at,
           coalesce(a.version >= m.version, true) AS is_current,
           a.gap_closed, a.gap_low, a.gap_high, coalesce(a.gap_reason, '') AS gap_reason,
           coalesce(a.n_undefined, 0) AS n_undefined
    FROM aggregate a
    LEFT JOIN metric m ON a.metric = m.metric AND a.protocol = m.protocol
    UNION ALL
    SELECT suite, task, dataset, model, metric, protocol, '' AS slice, value, ci_low, ci_high, n,
           n_expected, higher_is_better, 'reported' AS kind, 'ok' AS status,
           coalesce(source, '') AS reason, NULL AS run_id, NULL AS finished_at, true AS is_current,
           NULL AS gap_closed, NULL AS gap_low, NULL AS gap_high, '' AS gap_reason,
           0 AS n_undefined
    FROM reported
    """,
    """
    CREATE OR REPLACE VIEW leaderboard_best AS
    SELECT * FROM leaderboard_all WHERE is_current
    QUALIFY row_number() OVER (
        PARTITION BY suite, task, dataset, model, metric, protocol, slice
        ORDER BY value IS NULL, kind = 'reported', coalesce(n, 0) + n_undefined DESC,
                 finished_at DESC NULLS LAST, run_id DESC) = 1
    """,
    """
    CREATE OR REPLACE VIEW leaderboard AS
    SELECT suite, task, dataset, model, metric, protocol, value, ci_low, ci_high, n, n_expected,
           higher_is_better, kind, status, reason, run_id, finished_at
    FROM leaderboard_best WHERE slice = ''
    """,
    """
    CREATE OR REPLACE VIEW leaderboard_runs AS
    SELECT suite, task, dataset, model, metric, protocol, value, ci_low, ci_high, n, n_expected,
           higher_is_better, kind, status, reason, run_id, finished_at
    FROM leaderboard_all WHERE slice = ''
    """,
    """
    CREATE OR REPLACE VIEW leaderboard_slices AS
    SELECT suite, task, dataset, model, metric, protocol, value, ci_low, ci_high, n, n_expected,
           higher_is_better, kind, status, reason, run_id, finished_at, slice
    FROM leaderboard_best WHERE slice <> ''
    """,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestStatements:
    """How parts get into a table: stage (parameter: files), delete what is replaced, insert."""

    stage: str
    delete: str
    insert: str


def ingest_statements(table: Table) -> IngestStatements:
    """The statements for one table; names come from `TABLES` alone."""
    keys = ", ".join(f'"{name}"' for name in table.key_names)
    same = " AND ".join(f't."{name}" = i."{name}"' for name in table.key_names)
    return IngestStatements(
        stage="CREATE OR REPLACE TEMP TABLE incoming AS SELECT * EXCLUDE (filename) "
        "FROM read_parquet(?, union_by_name = true, filename = true) "
        f"QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY filename DESC) = 1",
        delete=f"DELETE FROM main.{table.name} t USING incoming i WHERE {same}",
        insert=f"INSERT INTO main.{table.name} BY NAME SELECT * FROM incoming",
    )


CLEAR_REPORTED: Final = "DELETE FROM reported"
INSERT_REPORTED: Final = (
    f"INSERT INTO reported ({', '.join(TABLE['reported'].names)}) "
    f"VALUES ({', '.join('?' for _ in TABLE['reported'].names)})"
)
