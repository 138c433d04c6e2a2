"""The dot-and-interval charts: of one metric, and of the differences between two models."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd

from editar_bench.compare import Compared
from leaderboard.look import GRAY, KIND_COLORS
from leaderboard.queries import Column, Grid, stamped


def chart_frame(grid: Grid, column: Column) -> pd.DataFrame:
    """One line a model that has a value, in the grid's order: model, name as shown, kind, value, low, high, samples."""
    rows = []
    for row in grid.rows:
        cell = row.cells.get(column.key)
        if cell is not None and cell.value is not None:
            rows.append(
                {
                    "model": row.model,
                    "name": stamped(row.model, cell.status),
                    "kind": row.kind,
                    "value": cell.value,
                    "low": cell.value if cell.low is None else cell.low,
                    "high": cell.value if cell.high is None else cell.high,
                    "samples": f"{cell.n:,} / {cell.n_expected:,}",
                }
            )
    columns = ["model", "name", "kind", "value", "low", "high", "samples"]
    return pd.DataFrame(rows, columns=columns)


def interval_chart(frame: pd.DataFrame, column: Column) -> alt.LayerChart | alt.FacetChart:
    """A dot for the value and a line for its interval, models from top to bottom as in the table."""
    title = [f"{column.metric} {column.arrow}{column.in_unit}", column.protocol]
    color = alt.Color(
        "kind:N",
        scale=alt.Scale(domain=list(KIND_COLORS), range=list(KIND_COLORS.values())),
        legend=None,
    )
    order = list(frame["name"])
    base = alt.Chart(frame).encode(
        y=alt.Y(
            "name:N", sort=order, title=None, axis=alt.Axis(labelLimit=260, labelOverlap=False)
        ),
        color=color,
    )
    lines = base.mark_rule(strokeWidth=2.5, opacity=0.55).encode(
        x=alt.X("low:Q", title=title, scale=alt.Scale(zero=False)), x2="high:Q"
    )
    dots = base.mark_circle(size=90, opacity=1).encode(
        x="value:Q", tooltip=["name", "kind", "value", "low", "high", "samples"]
    )
    return alt.layer(lines, dots).properties(
        width="container", height=max(90, 34 * len(frame) + 50)
    )


def effect_frame(rows: Sequence[Compared]) -> pd.DataFrame:
    """One line a metric with an effect size: metric, effect, low, high and better; above 0 is in favor of A."""
    lines = []
    for row in rows:
        result, difference = row.paired, row.paired.difference
        if result.effect is None or not difference.value:
            continue
        unit = difference.value / result.effect  # the deviation of the samples' differences
        sign = 1 if row.higher_is_better else -1
        low, high = (
            sign * (difference.value if x is None else x) / unit
            for x in (difference.low, difference.high)
        )
        lines.append(
            (
                row.metric,
                sign * result.effect,
                min(low, high),
                max(low, high),
                row.better or "neither",
            )
        )
    return pd.DataFrame(lines, columns=["metric", "effect", "low", "high", "better"])


def effect_chart(frame: pd.DataFrame, a: str, b: str) -> alt.LayerChart | alt.FacetChart:
    """A dot and an interval a metric around a line at zero: left of it B is better, right of it A."""
    color = alt.Color(
        "better:N",
        scale=alt.Scale(domain=["A", "B", "neither"], range=["#0b7285", "#d9480f", GRAY]),
        legend=alt.Legend(title="better", orient="top"),
    )
    axis = alt.Axis(labelLimit=260, labelOverlap=False)
    base = alt.Chart(frame).encode(
        y=alt.Y("metric:N", sort=list(frame["metric"]), title=None, axis=axis), color=color
    )
    title = ["effect, in standard deviations", f"← {b} better", f"{a} better →"]
    lines = base.mark_rule(strokeWidth=2.5, opacity=0.55).encode(
        x=alt.X("low:Q", title=title), x2="high:Q"
    )
    dots = base.mark_circle(size=90, opacity=1).encode(
        x="effect:Q", tooltip=["metric", "effect", "low", "high", "better"]
    )
    zero = alt.Chart(pd.DataFrame({"zero": [0]})).encode(x="zero:Q")
    zero = zero.mark_rule(strokeDash=[4, 4], color=GRAY)  # black is not seen on dark pages
    return alt.layer(zero, lines, dots).properties(
        width="container", height=max(90, 30 * len(frame) + 60)
    )
