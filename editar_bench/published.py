"""Published numbers in the results store, as rows of kind 'reported' beside what is measured.

They are data of the code, not of a run: whenever a store is published, it takes those of its tasks and data sets anew
from the leaderboard's files. Nothing ranks them with measured rows: reports and pages leave them out and show them in
places of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from editar_bench.registry import load_target

# By name: the harness knows the pages no other way.
REPORTED = "leaderboard.queries:reported_rows"
_TEXT = ("suite", "task", "dataset", "model", "metric", "protocol", "source", "mark")


def reported_at(suite: str, task: str, dataset: str) -> list[dict[str, Any]]:
    """Rows of the table `reported` for one task and data set; only numbers whose source could be read."""
    rows: Sequence[Mapping[str, str]] = load_target(REPORTED)()
    place = (suite, task, dataset)
    return [_typed(row) for row in rows if (row["suite"], row["task"], row["dataset"]) == place]


def _typed(row: Mapping[str, str]) -> dict[str, Any]:
    count = int(row["n"]) if row["n"] else None
    return {
        **{name: row[name] for name in _TEXT},
        "value": float(row["value"]),
        "n": count,
        "n_expected": count,
        "higher_is_better": row["higher_is_better"] == "true",
    }
