"""Stores of other versions: refused, or brought up to date."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from editar_bench import migrations
from editar_bench.store import Reader, Store, UserError
from tests.editar_bench.storing import NUMBER, score_row


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
