"""What tests of the runner read from a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from editar_bench.records import Aggregate
from editar_bench.runner import Summary
from editar_bench.store import Reader

Run = Callable[..., Summary]


def number(summary: Summary, model: str, metric: str = "dummy_error", slice: str = "") -> Aggregate:
    found = [
        row
        for row in summary.aggregates
        if (row.model, row.metric, row.slice) == (model, metric, slice) and row.task == "depth"
    ]
    assert len(found) == 1
    return found[0]


def outputs(out: Path, where: str = "true") -> dict[tuple[str, int], str]:
    """(sample, repeat) -> picture hash of the finished pictures."""
    frame = Reader(out).frame(
        f"SELECT sample_id, repeat, picture_hash FROM output WHERE status = 'ok' AND {where}"
    )
    return {(r["sample_id"], r["repeat"]): r["picture_hash"] for r in frame.to_dict("records")}


def calls(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []
