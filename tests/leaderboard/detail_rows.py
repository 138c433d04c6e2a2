"""Rows as `Reader.details` gives them."""

from __future__ import annotations


def row(
    task: str, model: str, metric: str, value: float | None, **more: object
) -> dict[str, object]:
    """A whole-split row of `scenes` with an interval of no width; `more` says what is otherwise."""
    kind = "reference" if model in ("codec", "oracle") else "measured"
    known = {"suite": "scenes", "slice": "", "kind": kind, "n": 250, "gap_closed": None}
    bounds = {"ci_low": value, "ci_high": value, "higher_is_better": metric != "depth_rmse"}
    return known | bounds | {"task": task, "model": model, "metric": metric, "value": value} | more
