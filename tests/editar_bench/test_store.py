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

import numpy as np
import pandas as pd
import pytest

from editar_bench import parts
from editar_bench.store import (
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
from tests.editar_bench.storing import INFO, NUMBER, VIEW, published, score_row

RUN = RunRecord(suite="scenes", dataset="scenes", spec={"seed": 3}, provenance={"code": "abc"})


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
        assert store.known_scores("k", "depth", "scenes", "g") == {}
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
        assert store.known_observations("k", "depth", "scenes", "g") == set()
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


KEYS = {
    "run": "run_id",
    "sample": "task dataset dataset_fingerprint sample_id",
    "output": "output_id",
    "score": "output_id metric protocol version",
    "observation": "output_id metric protocol version",
    "judge_reply": "output_id prompt_hash judge repeat",
    "aggregate": "run_id suite task dataset model metric protocol slice",
    "metric": "metric protocol",
    "vote": "vote_id",
}


def test_rows_that_differ_in_any_part_of_their_key_are_all_kept(tmp_path: Path) -> None:
    numbers = {"version", "repeat"}
    for table, names in KEYS.items():
        row: dict[str, Any] = {name: 1 if name in numbers else "a" for name in names.split()}
        others = [row | {name: 2 if name in numbers else "b"} for name in row]
        write_part(tmp_path, table, [row, *others, row])
    with Store.open(tmp_path) as store:
        counts = {t: len(store.query(f"SELECT * FROM {t}")) for t in KEYS}
    assert counts == {table: len(names.split()) + 1 for table, names in KEYS.items()}


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


def test_metrics_that_are_known_make_no_part(tmp_path: Path) -> None:
    info = replace(INFO, version=1, tasks=frozenset({Task.DEPTH, Task.EDIT}))
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
