"""Stores that are damaged, foreign or on a full disk: a sentence, and nothing is lost."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

from editar_bench import parts
from editar_bench.store import Reader, Store, UserError
from tests.editar_bench.storing import NUMBER, score_row


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


def test_a_store_from_elsewhere_reads_no_other_file(tmp_path: Path) -> None:
    secret, out = tmp_path / "secret.txt", tmp_path / "it's out"  # the quote is no end of a setting
    secret.write_text("key")
    with Store.open(out) as store:
        store.publish()
    with duckdb.connect(str(out / "results.duckdb")) as connection:
        connection.execute("DROP TABLE vote")
        connection.execute(f"CREATE VIEW vote AS SELECT content FROM read_text('{secret}')")
    with pytest.raises(UserError, match="disabled by configuration"):
        Reader(out).frame("SELECT * FROM vote")
    with Store.open(out) as store, pytest.raises(UserError, match="disabled by configuration"):
        store.query("SELECT * FROM vote")


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


def aggregate_row(model: str) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(replace(NUMBER, model=model))


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
