"""What the store's views show of many runs: one row a cell, its status, its reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from editar_bench import parts
from editar_bench.store import Aggregate, Reader, Store, write_part
from tests.editar_bench.storing import INFO, NUMBER, VIEW, published


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


def test_what_differs_in_any_part_of_its_place_is_another_row(tmp_path: Path) -> None:
    others = [replace(NUMBER, **{name: "other"}) for name in VIEW[:6]]
    with Store.open(tmp_path) as store:
        store.write_aggregates([NUMBER, *others, replace(NUMBER, slice="seen")])
        assert len(store.query("SELECT * FROM leaderboard")) == 7
        assert len(store.query("SELECT * FROM leaderboard_slices")) == 1


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
    with Store.open(tmp_path) as store:
        store.write_aggregates([NUMBER, replace(NUMBER, model="n", version=2)])
        store.write_metrics([INFO])
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
    rows = [NUMBER, replace(NUMBER, model="again"), replace(NUMBER, model="failed", value=None)]
    with Store.open(tmp_path) as store:
        store.write_aggregates([*rows, replace(NUMBER, run_id="r2", model="again", version=2)])
        store.write_metrics([INFO])
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
