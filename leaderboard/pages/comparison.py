"""Paradigms at equal training cost: budgets, and quality against seconds a picture."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd
import streamlit as st

from leaderboard import comparison, look, queries, source


def show_costs(found: Sequence[comparison.Cost]) -> None:
    """A table of training costs."""
    look.show_rows(
        ("model", "parameters", "samples", "operations", "minutes", "hardware", "training seeds"),
        [
            (
                cost.model,
                f"{cost.parameters:,}",
                f"{cost.samples:,}",
                look.DASH if cost.flops is None else f"{cost.flops:.2e}",
                f"{cost.minutes:.1f}",
                cost.hardware,
                str(cost.seeds),
            )
            for cost in found
        ],
    )


def chart(points: pd.DataFrame, column: queries.Column) -> alt.LayerChart | alt.FacetChart:
    """Quality over seconds a picture (logarithmic), each model a dot with its interval and its name."""
    scale = alt.Scale(type="log", nice=False, padding=30)
    seconds = alt.X("seconds:Q", title="seconds a picture", scale=scale)
    title = f"{column.metric} {column.arrow}{column.in_unit}"
    base = alt.Chart(points).encode(x=seconds)
    value = alt.Y("value:Q", title=title, scale=alt.Scale(zero=False))
    rules = base.mark_rule(opacity=0.5, color=look.GRAY).encode(
        y=alt.Y("low:Q", title=title), y2="high:Q"
    )
    dots = base.mark_circle(size=110, opacity=1, color="#0b7285").encode(
        y=value, tooltip=["name", "value", "low", "high", "seconds", "place"]
    )
    named: dict[tuple[comparison.Side, int], list[int]] = {}
    for row, place in enumerate(comparison.name_places(points)):
        named.setdefault(place, []).append(row)
    names = [
        alt.Chart(points.iloc[rows])
        .mark_text(align=side, dx=9 if side == "left" else -9, dy=below, color=look.GRAY)
        .encode(x=seconds, y=value, text="name:N")
        for (side, below), rows in named.items()
    ]
    return alt.layer(rules, dots, *names).properties(width="container", height=380)


def main() -> None:
    """Draw the page."""
    look.header(
        "Comparison",
        "One data stream, one codec, one text encoder, and the same training operations for every paradigm. "
        "Intervals cover samples, not training: each model was trained once unless its row says otherwise.",
    )
    details, metrics = source.numbers()
    here = queries.at_place(details, *queries.places(details)[0])
    with source.sentences():
        records = comparison.recorded(here, source.reader().run_record)
    divided = comparison.budgets(comparison.costs(records))
    (st.warning if divided.apart or not divided.compared else st.caption)(
        look.plain(divided.sentence)
    )
    if not divided.compared:
        st.stop()
    show_costs(divided.compared)
    names = [cost.model for cost in divided.compared]
    rows = here[here["model"].isin(names)]
    tasks = queries.tasks_in(rows)
    for task, tab in zip(tasks, st.tabs([look.plain(task) for task in tasks]), strict=True):
        with tab:
            of_task = rows[rows["task"] == task]
            by_label = {column.label: column for column in queries.columns_of(of_task, metrics)}
            column = by_label[st.selectbox("Metric", list(by_label), key=f"compare-{task}")]
            points = comparison.points(of_task, column)
            if points.empty:
                st.caption("No model at the common budget has this number.")
            else:
                st.altair_chart(chart(points, column))
                if len(places := dict.fromkeys(filter(None, points["place"]))) > 1:
                    st.caption(
                        look.plain(f"Seconds compare only within one place: {'; '.join(places)}.")
                    )
    if divided.apart:
        st.subheader("Other budgets")
        show_costs(divided.apart)


main()
