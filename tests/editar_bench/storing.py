"""Rows that tests of the store write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb

from editar_bench.contracts import MetricInfo
from editar_bench.store import Aggregate
from editar_bench.types import Task

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
INFO = MetricInfo(  # of NUMBER's metric, which has a newer version by now
    name="rmse",
    protocol="p",
    unit="m",
    direction="lower",
    version=2,
    tasks=frozenset({Task.DEPTH}),
    gap="shuffled",
)


def score_row(value: float, key: str = "o") -> dict[str, Any]:
    return {"output_id": key, "metric": "a", "protocol": "p", "version": 1, "value": value}


def published(out: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        connection.execute("ATTACH ? AS s (READ_ONLY)", [str(out / "results.duckdb")])
        connection.execute("USE s")
        return connection.execute(sql).fetchall()
