"""What the store's views show of many runs: one row a cell, its status, its reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from editar_bench.contracts import MetricInfo
from editar_bench.store import Aggregate, Reader, Store
from editar_bench.types import Task
from tests.editar_bench.storing import NUMBER, VIEW


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


def test_reported_rows_never_replace_measured_ones(tmp_path: Path) -> None:
    key = {name: getattr(NUMBER, name) for name in VIEW[:6]}
    rows = [key | {"value": 9.0, "n": 700}, key | {"model": "paper", "value": 8.0}]
    with Store.open(tmp_path) as store:
        store.write_aggregates([NUMBER])
        store.write_part("reported", [row | {"source": "a paper"} for row in rows])
        store.ingest()
        board = store.query("SELECT model, value, kind FROM leaderboard ORDER BY model")
    assert [tuple(row.values()) for row in board] == [
        ("m", 0.5, "measured"),
        ("paper", 8.0, "reported"),
    ]
