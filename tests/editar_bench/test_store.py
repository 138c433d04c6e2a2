"""The store: one driver, parts in, one published file out, readers never in the way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

from editar_bench import migrations, parts
from editar_bench.contracts import MetricInfo
from editar_bench.store import (
    Aggregate,
    Reader,
    RunRecord,
    Store,
    UserError,
    model_key,
    model_label,
    now,
    output_id,
    write_part,
)
from editar_bench.types import Task

RUN = RunRecord(suite="scenes", dataset="scenes", spec={"seed": 3}, provenance={"code": "abc"})
VIEW = [
    "suite",
    "task",
    "dataset",
    "model",
    "metric",
    "protocol",
    "value",
    "ci_low",
    "ci_high",
    "n",
    "n_expected",
    "higher_is_better",
    "kind",
    "status",
    "reason",
    "run_id",
    "finished_at",
]
NUMBER = Aggregate(
    run_id="r1",
    suite="scenes",
    task="depth",
    dataset="scenes",
    model="m",
    metric="rmse",
    protocol="p",
    version=1,
    model_key="k",
    kind="measured",
    higher_is_better=False,
    n_expected=250,
    n=250,
    value=0.5,
)


def output_row(sample: str = "s1", seed: int = 7, **changes: Any) -> dict[str, Any]:
    picture = changes.get("picture_hash", "h")
    key = output_id("k", "depth", "scenes", "f", sample, 0, seed, picture)
    return {
        "output_id": key,
        "run_id": "r1",
        "suite": "scenes",
        "task": Task.DEPTH,
        "dataset": "scenes",
        "dataset_fingerprint": "f",
        "model": "m",
        "model_key": "k",
        "kind": "measured",
        "sample_id": sample,
        "repeat": 0,
        "seed": seed,
        "status": "ok",
        "picture_hash": picture,
        "created_at": now(),
    } | changes


def published(out: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        connection.execute("ATTACH ? AS s (READ_ONLY)", [str(out / "results.duckdb")])
        connection.execute("USE s")
        return connection.execute(sql).fetchall()


def test_a_run_is_published_and_read_back(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        run_id = store.begin_run(RUN)
        store.write_aggregates([replace(NUMBER, run_id=run_id, ci_low=0.4, ci_high=float("inf"))])
        store.finish_run(run_id)
    frame = Reader(tmp_path).leaderboard(task="depth")
    assert list(frame.columns) == VIEW
    assert frame.loc[0, "value"] == 0.5
    assert frame.loc[0, "status"] == "ok"
    assert frame["ci_high"].isna().all()  # infinite values are stored as undefined
    assert Reader(tmp_path).leaderboard(task=["edge", "edit"]).empty
    record = Reader(tmp_path).run_record(run_id)
    assert (record["status"], record["spec"], record["provenance"]) == (
        "finished",
        {"seed": 3},
        {"code": "abc"},
    )


def test_known_outputs_hold_the_key_and_nothing_that_failed(tmp_path: Path) -> None:
    largest = 2**64 - 1
    with Store.open(tmp_path) as store:
        old = now() - timedelta(hours=1)
        store.write_part("output", [output_row(seed=largest), output_row("s2", status="failed")])
        store.write_part("output", [output_row(seed=largest, picture_hash="old", created_at=old)])
        store.ingest()
        known = store.known_outputs("k", Task.DEPTH, "scenes", "f")
        assert list(known) == [("s1", 0, largest)]
        assert known["s1", 0, largest]["picture_hash"] == "h"  # the newest
        for other in (("x", "depth", "scenes", "f"), ("k", "depth", "scenes", "g")):
            assert store.known_outputs(*other) == {}


def test_scores_are_known_by_output_metric_and_version(tmp_path: Path) -> None:
    row = output_row()
    key = (row["output_id"], "rmse", "p", 1)
    with Store.open(tmp_path) as store:
        store.write_part("output", [row])
        score = {"output_id": key[0], "metric": "rmse", "protocol": "p", "run_id": "r"}
        store.write_part("score", [score | {"version": 1, "value": None, "reason": "no outside"}])
        store.ingest()
        assert store.known_scores("k", "depth", "scenes", "f") == {key: None}
        store.write_part("score", [score | {"version": 2, "value": 1.5}])
        store.ingest()
        known = store.known_scores("k", "depth", "scenes", "f")
        assert known == {key: None, (*key[:3], 2): 1.5}


def test_observations_come_back_as_they_were(tmp_path: Path) -> None:
    row = output_row()
    array = np.arange(12, dtype=np.int32).reshape(3, 4)[:, ::2]  # not contiguous
    key = (row["output_id"], "miou", "p", 1)
    with Store.open(tmp_path) as store:
        store.write_part("output", [row])
        store.write_observations([(key, array)], "r1")
        store.ingest()
        assert store.known_observations("k", "depth", "scenes", "f") == {key}
        found = store.observations([row["output_id"], "absent"], "miou", "p", 1)
        assert list(found) == [row["output_id"]]
        np.testing.assert_array_equal(found[row["output_id"]], array)
        assert found[row["output_id"]].dtype == np.int32
        assert store.observations([row["output_id"]], "miou", "p", 2) == {}


def test_ingesting_twice_changes_nothing(tmp_path: Path) -> None:
    part = write_part(tmp_path, "score", [score_row(1.0)])
    assert part is not None
    with Store.open(tmp_path) as store:  # ingests on opening
        assert store.ingest() == 0
        shutil.copy(part, part.with_name("9" + part.name[1:]))  # the same rows under another name
        assert store.ingest() == 1
        assert store.query("SELECT value FROM score") == [{"value": 1.0}]
        store.publish()
    with Store.open(tmp_path) as store:
        assert store.ingest() == 0
        assert len(store.query("SELECT * FROM score")) == 1


def test_ingesting_nothing_new_asks_the_database_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(tmp_path) as store:
        store.write_part("score", [score_row(1.0)])
        store.publish()
    with Store.open(tmp_path) as store:
        monkeypatch.setattr(store, "_connection", None)  # what was taken is known since opening
        assert store.ingest() == 0
        monkeypatch.undo()
        assert [path.name for path in parts.list_parts(tmp_path, "absent")] == []


def score_row(value: float, key: str = "o") -> dict[str, Any]:
    return {"output_id": key, "metric": "a", "protocol": "p", "version": 1, "value": value}


def test_the_later_row_wins_within_and_between_parts(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.write_part("score", [score_row(1.0), score_row(2.0)])
        store.ingest()
        assert store.query("SELECT value FROM score") == [{"value": 2.0}]
        store.write_part("score", [score_row(3.0)])
        store.write_part("score", [score_row(4.0), score_row(5.0, "other")])
        assert store.ingest() == 2
        found = store.query("SELECT output_id, value FROM score ORDER BY ALL")
        assert [tuple(row.values()) for row in found] == [("o", 4.0), ("other", 5.0)]


def test_wrong_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no column valu"):
        write_part(tmp_path, "score", [score_row(1.0) | {"valu": 1}])
    with pytest.raises(ValueError, match="needs output_id"):
        write_part(tmp_path, "score", [{"metric": "a"}])
    assert write_part(tmp_path, "score", []) is None
    assert parts.list_parts(tmp_path, "score") == []


def test_a_second_run_gets_one_sentence(tmp_path: Path) -> None:
    with Store.open(tmp_path), pytest.raises(UserError, match="another run is writing to"):
        Store.open(tmp_path)
    with Store.open(tmp_path):
        pass  # the lock was released


def test_a_killed_run_is_taken_up_from_its_parts(tmp_path: Path) -> None:
    program = f"""
import os
from pathlib import Path
from editar_bench.store import RunRecord, Store
store = Store.open(Path({str(tmp_path)!r}))
store.begin_run(RunRecord(suite="scenes", dataset="scenes", spec={{}}, provenance={{}}))
store.publish()
store.write_part("score", [{score_row(1.0)!r}])
store.ingest()
os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 9
    assert published(tmp_path, "SELECT count(*) FROM score") == [(0,)]
    (tmp_path / "parts" / "score" / ".half.parquet.tmp").write_bytes(b"PAR1")  # a torn write
    with Store.open(tmp_path) as store:
        assert store.query("SELECT value FROM score") == [{"value": 1.0}]
        store.publish()
    assert published(tmp_path, "SELECT value FROM score") == [(1.0,)]
    assert published(tmp_path, "SELECT status, reason FROM run") == [("failed", "interrupted")]


def test_what_killed_writers_left_is_removed_and_what_is_being_written_is_not(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "parts" / "score"
    folder.mkdir(parents=True)
    killed = (tmp_path / ".results.duckdb.0123abcd", folder / ".1.parquet.tmp")
    writing = folder / ".2.parquet.tmp"
    for path in (*killed, writing):
        path.touch()
    os.utime(killed[1], (0, 0))
    with Store.open(tmp_path):
        pass
    assert not any(path.exists() for path in killed) and writing.exists()


def test_a_lost_or_damaged_file_is_rebuilt_from_the_parts(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.write_part("score", [score_row(1.0)])
        store.publish()
    file = tmp_path / "results.duckdb"
    file.write_bytes(b"not a database" * 1000)
    with pytest.raises(UserError, match="move it away"):
        Store.open(tmp_path)
    with pytest.raises(UserError, match="cannot be read"):
        Reader(tmp_path).leaderboard()
    file.unlink()
    with Store.open(tmp_path) as store:
        assert store.query("SELECT value FROM score") == [{"value": 1.0}]


def test_a_reader_neither_blocks_a_run_nor_goes_stale(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.write_aggregates([NUMBER])
        store.publish()
    reader, other = Reader(tmp_path), Reader(tmp_path)
    assert list(reader.leaderboard()["value"]) == [0.5]
    before = reader.stamp()
    with Store.open(tmp_path) as store:
        store.write_aggregates([replace(NUMBER, value=0.25)])
        assert list(other.leaderboard()["value"]) == [0.5]  # not published yet
        store.publish()
    assert reader.stamp() != before
    assert list(reader.leaderboard()["value"]) == [0.25]
    assert list(other.leaderboard()["value"]) == [0.25]


def leaderboard_of(tmp_path: Path, rows: list[Aggregate]) -> list[dict[str, Any]]:
    with Store.open(tmp_path) as store:
        for row in rows:  # one by one, so that finished_at differs
            store.write_aggregates([row])
        return store.query("SELECT * FROM leaderboard ORDER BY ALL")


def test_exactly_one_row_largest_n_then_newest(tmp_path: Path) -> None:
    rows = [
        replace(NUMBER, run_id="a", n=250, value=1.0),
        replace(NUMBER, run_id="b", n=250, value=2.0),
        replace(NUMBER, run_id="c", n=24, value=3.0),
        replace(NUMBER, run_id="d", n=0, value=None, status="failed", reason="no weights"),
        replace(NUMBER, run_id="c", protocol="q", n=24, value=4.0),
        replace(NUMBER, run_id="c", n=300, slice="seen", value=5.0),
    ]
    board = leaderboard_of(tmp_path, rows)
    assert [(row["protocol"], row["run_id"], row["value"]) for row in board] == [
        ("p", "b", 2.0),
        ("q", "c", 4.0),
    ]
    with Store.open(tmp_path) as store:
        assert len(store.query("SELECT * FROM leaderboard_runs")) == 5
        slices = store.query("SELECT * FROM leaderboard_slices")
    assert list(slices[0]) == [*VIEW, "slice"]
    assert [(row["slice"], row["value"]) for row in slices] == [("seen", 5.0)]


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"value": 1.0, "n": 24}, {"value": None, "n": 250}),  # a number before none
        ({"value": 1.0, "n": 3}, {"value": None, "n": 0, "status": "failed", "n_undefined": 9}),
        ({"value": 1.0, "n": 100, "n_undefined": 150}, {"value": 2.0, "n": 120}),
    ],
)
def test_the_row_of_the_most_scored_samples_counts_if_it_has_a_value(
    tmp_path: Path, better: dict[str, Any], worse: dict[str, Any]
) -> None:
    rows = [replace(NUMBER, run_id="a", **better), replace(NUMBER, run_id="b", **worse)]
    (row,) = leaderboard_of(tmp_path, rows)
    assert row["run_id"] == "a"


def test_a_published_number_stands_where_nothing_could_be_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("editar_bench.published.load_target", lambda _: lambda: [reported_row()])
    with Store.open(tmp_path) as store:
        store.write_aggregates([replace(NUMBER, value=None, n=0, status="failed")])
        store.publish()
        (row,) = store.query("SELECT kind, value FROM leaderboard")
    assert row == {"kind": "reported", "value": 9.0}


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        ({"n": 24}, "partial", "24 of 250 samples"),
        ({"n": 24, "reason": "12 failed: out of memory"}, "partial", "12 failed: out of memory"),
        ({"n": 200, "n_undefined": 50}, "ok", "undefined for 50 of 250 samples"),
        ({"n": 200, "n_undefined": 49}, "partial", "200 of 250 samples"),
        ({"n": 250}, "ok", ""),
        (
            {"n": 0, "value": None, "status": "unsupported", "reason": "no edits"},
            "unsupported",
            "no edits",
        ),
    ],
)
def test_status_and_reason(
    tmp_path: Path, change: dict[str, Any], status: str, reason: str
) -> None:
    (row,) = leaderboard_of(tmp_path, [replace(NUMBER, **change)])
    assert (row["status"], row["reason"]) == (status, reason)


def test_numbers_of_an_older_metric_version_are_not_compared(tmp_path: Path) -> None:
    info = MetricInfo(
        name="rmse",
        protocol="p",
        unit="m",
        direction="lower",
        version=2,
        tasks=frozenset({Task.DEPTH}),
        gap="shuffled",
    )
    with Store.open(tmp_path) as store:
        store.write_aggregates([NUMBER, replace(NUMBER, model="n", version=2)])
        store.write_metrics([info])
        assert [row["model"] for row in store.query("SELECT model FROM leaderboard")] == ["n"]
        assert len(store.query("SELECT * FROM leaderboard_runs")) == 2
        store.publish()
    row = Reader(tmp_path).metrics().iloc[0]
    assert (row["unit"], row["gap"], list(row["tasks"]), bool(row["higher_is_better"])) == (
        "m",
        "shuffled",
        ["depth"],
        False,
    )


def test_what_an_older_metric_version_measured_is_named_without_its_number(
    tmp_path: Path,
) -> None:
    info = MetricInfo(
        name="rmse",
        protocol="p",
        unit="m",
        direction="lower",
        version=2,
        tasks=frozenset({Task.DEPTH}),
    )
    rows = [NUMBER, replace(NUMBER, model="again"), replace(NUMBER, model="failed", value=None)]
    with Store.open(tmp_path) as store:
        store.write_aggregates([*rows, replace(NUMBER, run_id="r2", model="again", version=2)])
        store.write_metrics([info])
        store.publish()
    reader = Reader(tmp_path)
    (row,) = reader.outdated().to_dict("records")
    assert (row["model"], row["status"], row["n"]) == ("m", "outdated", 0)
    assert row["reason"] == "made with an older version of the metric; run it again"
    assert pd.isna(row["value"])
    assert list(reader.outdated().columns) == list(reader.details().columns)


def reported_row(**changes: Any) -> dict[str, str]:
    key = {name: getattr(NUMBER, name) for name in VIEW[:6]}
    row = {"value": "9", "n": "700", "higher_is_better": "false", "source": "p", "mark": "verified"}
    return key | row | changes


def test_reported_rows_never_replace_measured_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [reported_row(), reported_row(model="paper", value="8")]
    monkeypatch.setattr("editar_bench.published.load_target", lambda name: lambda: rows)
    with Store.open(tmp_path) as store:
        store.write_aggregates([NUMBER])
        store.publish()
        board = store.query("SELECT model, value, kind FROM leaderboard ORDER BY model")
    assert [tuple(row.values()) for row in board] == [
        ("m", 0.5, "measured"),
        ("paper", 8.0, "reported"),
    ]


def test_reported_rows_are_those_that_the_code_has_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [reported_row(model="a"), reported_row(model="b"), reported_row(dataset="elsewhere")]
    monkeypatch.setattr("editar_bench.published.load_target", lambda name: lambda: rows)
    key = {name: getattr(NUMBER, name) for name in VIEW[:6]}
    write_part(tmp_path, "reported", [key | {"model": "of an earlier version"}])
    with Store.open(tmp_path) as store:
        store.write_aggregates([NUMBER])
        store.publish()
        found = store.query("SELECT model, dataset FROM reported ORDER BY ALL")
        assert [row["model"] for row in found] == ["a", "b"]
        rows[:] = [reported_row(model="b", value="7")]  # the file was edited
        store.publish()
    assert published(tmp_path, "SELECT model, value FROM reported") == [("b", 7.0)]
    assert len(parts.list_parts(tmp_path, "reported")) == 1


def test_metrics_that_are_known_make_no_part(tmp_path: Path) -> None:
    info = MetricInfo(
        name="rmse",
        protocol="p",
        unit="m",
        direction="lower",
        version=1,
        tasks=frozenset({Task.DEPTH, Task.EDIT}),
    )
    with Store.open(tmp_path) as store:
        for infos in ([info], [info], [info, replace(info, protocol="q")]):
            store.write_metrics(infos)
        first, second = parts.list_parts(tmp_path, "metric")
        assert list(pd.read_parquet(second)["protocol"]) == ["q"]
        store.write_metrics([replace(info, version=2)])
        found = store.query("SELECT protocol, version FROM metric ORDER BY ALL")
    assert [tuple(row.values()) for row in found] == [("p", 2), ("q", 1)]


def test_votes_show_before_a_run_ingests_them(tmp_path: Path) -> None:
    def vote(name: str, choice: str) -> None:
        write_part(tmp_path, "vote", [{"vote_id": name, "choice": choice, "created_at": now()}])

    vote("1", "left")
    with Store.open(tmp_path) as store:
        store.publish()
    reader = Reader(tmp_path)
    vote("2", "right")
    vote("1", "tie")  # the voter changed the mind
    votes = reader.votes()
    assert dict(zip(votes["vote_id"], votes["choice"], strict=True)) == {"1": "tie", "2": "right"}
    with Store.open(tmp_path) as store:
        store.publish()
    assert sorted(reader.votes()["choice"]) == ["right", "tie"]


def test_a_newer_store_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.write_part("score", [score_row(1.0)])
        store.publish()
    newer = migrations.SCHEMA_VERSION + 1
    with duckdb.connect(str(tmp_path / "results.duckdb")) as connection:
        connection.execute("UPDATE schema_version SET version = ?", [newer])
    before = (tmp_path / "results.duckdb").read_bytes()
    for use in (Store.open, lambda out: Reader(out).leaderboard()):
        with pytest.raises(UserError, match=f"newer editar-bench .results version {newer}") as info:
            use(tmp_path)
        assert str(info.value).count("\n") == 0
    assert (tmp_path / "results.duckdb").read_bytes() == before


def test_an_older_store_is_a_sentence_for_readers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(tmp_path) as store:
        store.publish()
    monkeypatch.setattr(migrations, "SCHEMA_VERSION", migrations.SCHEMA_VERSION + 1)
    with pytest.raises(UserError, match="older editar-bench"):
        Reader(tmp_path).leaderboard()


@pytest.mark.parametrize("version", ["0", "-1"])
def test_a_version_that_nobody_wrote_is_refused(tmp_path: Path, version: str) -> None:
    with Store.open(tmp_path) as store:
        store.publish()
    with duckdb.connect(str(tmp_path / "results.duckdb")) as connection:
        connection.execute("UPDATE schema_version SET version = ?", [version])
    for use in (Store.open, lambda out: Reader(out).leaderboard()):
        with pytest.raises(UserError, match=f"version {version}, which no .* move it away"):
            use(tmp_path)


@pytest.mark.parametrize("kept", [("schema_version",), ("schema_version", "ingested_part")])
def test_a_store_without_its_tables_is_a_sentence(tmp_path: Path, kept: tuple[str, ...]) -> None:
    with Store.open(tmp_path / "whole") as store:
        store.publish()
    with duckdb.connect(str(tmp_path / "results.duckdb")) as connection:
        connection.execute(f"ATTACH '{tmp_path / 'whole' / 'results.duckdb'}' AS whole (READ_ONLY)")
        for table in kept:
            connection.execute(f"CREATE TABLE {table} AS FROM whole.{table}")
    reader = Reader(tmp_path)
    for use in (reader.leaderboard, reader.votes, lambda: Store.open(tmp_path)):
        with pytest.raises(UserError, match="cannot be read as a results store .* move it away"):
            use()
    assert not list(tmp_path.glob(".working*"))


def test_half_a_store_is_a_sentence_and_rebuilt_when_moved_away(tmp_path: Path) -> None:
    key, array = ("o", "m", "p", 1), np.random.default_rng(0).random(2**18)
    with Store.open(tmp_path) as store:
        store.write_observations([(key, array)], "r")
        store.ingest()
        store.publish()
    file = tmp_path / "results.duckdb"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(UserError, match="cannot be read as a results store .* move it away"):
        Reader(tmp_path).frame("SELECT * FROM observation")
    with (
        pytest.raises(UserError, match="cannot be read as a results store .* move it away"),
        Store.open(tmp_path) as store,
    ):
        store.observations(["o"], "m", "p", 1)
    file.unlink()
    with Store.open(tmp_path) as store:
        assert np.array_equal(store.observations(["o"], "m", "p", 1)["o"], array)


def test_an_unreadable_part_is_not_blamed_on_the_store(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.write_part("score", [score_row(1.0)])
        (part,) = parts.list_parts(tmp_path, "score")
        part.write_bytes(b"x" * 100)
        with pytest.raises(UserError, match="remove the unreadable part"):
            store.ingest()


def test_a_part_of_other_columns_is_not_blamed_on_the_store(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.write_part("score", [score_row(1.0)])
        (part,) = parts.list_parts(tmp_path, "score")
        pd.read_parquet(part).assign(taste="sweet").to_parquet(part)
        with pytest.raises(UserError, match="parts of .*score .*remove the unreadable part"):
            store.ingest()


def test_migrations_run_forward_one_by_one() -> None:
    connection = duckdb.connect()
    migrations.prepare(connection, "x", target=1, migrations={})
    connection.execute("INSERT INTO score (output_id, value) VALUES ('o', 2.0)")
    steps = {
        1: ("ALTER TABLE score ADD COLUMN doubled DOUBLE", "UPDATE score SET doubled = value * 2"),
        2: ("UPDATE score SET doubled = doubled + 1",),
    }
    migrations.prepare(connection, "x", target=3, migrations=steps)
    assert connection.execute("SELECT doubled FROM score").fetchall() == [(5.0,)]
    assert migrations.stored_version(connection) == 3
    migrations.prepare(connection, "x", target=3, migrations=steps)
    assert connection.execute("SELECT doubled FROM score").fetchall() == [(5.0,)]


def test_every_older_version_has_a_migration() -> None:
    assert sorted(migrations.MIGRATIONS) == list(range(1, migrations.SCHEMA_VERSION))


def test_a_store_of_version_1_is_brought_up_to_date(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.write_aggregates([NUMBER])
        store.publish()
    old = {"output": "machine", "aggregate": "gap_reason"}
    with duckdb.connect(str(tmp_path / "results.duckdb")) as connection:
        for view in ("leaderboard", "leaderboard_runs", "leaderboard_slices"):
            connection.execute(f"DROP VIEW {view}")
        connection.execute("DROP VIEW leaderboard_best")
        connection.execute("DROP VIEW leaderboard_all")
        for table, column in old.items():
            connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        connection.execute("UPDATE schema_version SET version = 1")
    with Store.open(tmp_path) as store:
        store.write_aggregates([replace(NUMBER, model="n", gap_reason="no floor")])
        store.publish()
    rows = Reader(tmp_path).details()
    assert dict(zip(rows["model"], rows["gap_reason"], strict=True)) == {"m": "", "n": "no floor"}


def test_missing_empty_and_foreign_files_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there are no results at .* yet"):
        Reader(tmp_path).leaderboard()
    file = tmp_path / "results.duckdb"
    file.touch()
    with pytest.raises(UserError, match="cannot be read as a results store"):
        Reader(tmp_path).leaderboard()
    file.unlink()
    with duckdb.connect(str(file)) as connection:
        connection.execute("CREATE TABLE mine (a INTEGER)")
    with pytest.raises(UserError, match="not a results store"):
        Reader(tmp_path).leaderboard()
    with pytest.raises(UserError, match="database of something else"):
        Store.open(tmp_path)


def test_a_full_disk_is_a_sentence_and_keeps_the_published_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with Store.open(tmp_path) as store:
        store.write_aggregates([NUMBER])
        store.publish()
        store.write_aggregates([replace(NUMBER, model="n")])
        words = "No space left on device.; .* free some space"
        with monkeypatch.context() as patch, pytest.raises(UserError, match=words):
            patch.setattr(shutil, "copyfile", full)
            store.publish()
        assert list(Reader(tmp_path).leaderboard()["model"]) == ["m"]
        store.publish()
    assert list(Reader(tmp_path).leaderboard()["model"]) == ["m", "n"]
    assert [path.name for path in tmp_path.glob(".results*")] == []


def test_space_is_spoken_of_only_when_it_is_lacking(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="File name too long.; .* mend this and run"):
        Store.open(tmp_path / ("x" * 300))


class FullDisk:
    """A connection whose disk is full when it is asked to write."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, refused: str) -> None:
        self.connection, self.refused = connection, refused

    def execute(self, sql: str, *more: Any) -> Any:
        if sql.startswith(self.refused):
            raise duckdb.FatalException(
                "FATAL Error: Failed to write: No space left on device\nmore"
            )
        return self.connection.execute(sql, *more)

    def close(self) -> None:
        self.connection.close()


@pytest.mark.parametrize("refused", ["CHECKPOINT", "BEGIN", "DELETE"])
def test_a_full_disk_inside_the_database_is_a_sentence_too(tmp_path: Path, refused: str) -> None:
    with Store.open(tmp_path) as store:
        store.write_aggregates([NUMBER])
        store.publish()
        store.write_part("aggregate", [aggregate_row("n")])
        store._connection = FullDisk(store._connection, refused)  # type: ignore[assignment]
        with pytest.raises(UserError, match="No space left on device") as info:
            store.publish()
        assert str(info.value).count("\n") == 0
    assert list(Reader(tmp_path).leaderboard()["model"]) == ["m"]
    with Store.open(tmp_path) as store:  # the parts kept everything
        store.publish()
    assert list(Reader(tmp_path).leaderboard()["model"]) == ["m", "n"]


def aggregate_row(model: str) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(replace(NUMBER, model=model))


def test_keys_depend_on_everything_that_changes_a_picture() -> None:
    base = model_key("m", {"steps": 5, "cfg": 3.0}, {"a": "1"})
    assert base == model_key("m", {"cfg": 3.0, "steps": 5}, {"a": "1"})
    others = [
        model_key("n", {"steps": 5, "cfg": 3.0}, {"a": "1"}),
        model_key("m", {"steps": 6, "cfg": 3.0}, {"a": "1"}),
        model_key("m", {"steps": 5, "cfg": 3.0}, {"a": "2"}),
    ]
    assert len({base, *others}) == 4
    assert model_label("controlnet", {"steps": 50, "guidance": 9}) == (
        "controlnet:guidance=9,steps=50"
    )
    assert model_label("controlnet", {}) == "controlnet"


def test_unknown_filters_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no filter n"):
        Reader(tmp_path).leaderboard(n="1; DROP TABLE score")
