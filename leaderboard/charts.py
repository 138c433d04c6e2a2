"""The dot-and-interval chart of one metric."""

from __future__ import annotations

import altair as alt
import pandas as pd

from leaderboard.look import KIND_COLORS
from leaderboard.queries import Column, Grid


def chart_frame(grid: Grid, column: Column) -> pd.DataFrame:
    """One line a model that has a value: model, kind, value, low, high, samples; in the grid's order."""
    rows = []
    for row in grid.rows:
        cell = row.cells.get(column.key)
        if cell is not None and cell.value is not None:
            rows.append(
                {
                    "model": row.model,
                    "kind": row.kind,
                    "value": cell.value,
                    "low": cell.value if cell.low is None else cell.low,
                    "high": cell.value if cell.high is None else cell.high,
                    "samples": f"{cell.n:,} / {cell.n_expected:,}",
                }
            )
    return pd.DataFrame(rows, columns=["model", "kind", "value", "low", "high", "samples"])


def interval_chart(frame: pd.DataFrame, column: Column) -> alt.LayerChart | alt.FacetChart:
    """A dot for the value and a line for its interval, models from top to bottom as in the table."""
    unit = f", {column.unit}" if column.unit else ""
    title = f"{column.metric} {column.arrow}{unit}  ({column.protocol})"
    color = alt.Color(
        "kind:N",
        scale=alt.Scale(domain=list(KIND_COLORS), range=list(KIND_COLORS.values())),
        legend=None,
    )
    order = list(frame["model"])
    base = alt.Chart(frame).encode(
        y=alt.Y(
            "model:N", sort=order, title=None, axis=alt.Axis(labelLimit=260, labelOverlap=False)
        ),
        color=color,
    )
    lines = base.mark_rule(strokeWidth=2.5, opacity=0.55).encode(
        x=alt.X("low:Q", title=title, scale=alt.Scale(zero=False)), x2="high:Q"
    )
    dots = base.mark_circle(size=90, opacity=1).encode(
        x="value:Q", tooltip=["model", "kind", "value", "low", "high", "samples"]
    )
    return alt.layer(lines, dots).properties(
        width="container", height=max(90, 34 * len(frame) + 50)
    )
