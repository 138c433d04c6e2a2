"""One table a task, with intervals, and a chart of one metric."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from leaderboard import charts, look, queries, source
from leaderboard.published import gaps


def filters(frame: pd.DataFrame) -> pd.DataFrame:
    """The sidebar; returns the rows that pass."""
    with st.sidebar:
        st.subheader("Filter")
        chosen = {
            name: st.multiselect(
                label, sorted(frame[name].unique()), placeholder="all", key=f"filter-{name}"
            )
            for name, label in (
                ("model", "Model"),
                ("kind", "Kind"),
                ("metric", "Metric"),
                ("protocol", "Protocol"),
            )
        }
    return queries.choose(
        frame,
        models=chosen["model"],
        kinds=chosen["kind"],
        metrics=chosen["metric"],
        protocols=chosen["protocol"],
    )


def show_task(task: str, frame: pd.DataFrame, metrics: pd.DataFrame) -> None:
    """The table and the chart of one task."""
    rows = frame[frame["task"] == task]
    columns = queries.columns_of(rows, metrics)
    if not columns:
        st.caption("Nothing passes the filters.")
        return
    by_label = {column.label: column for column in columns}
    label = st.selectbox("Order and chart by", list(by_label), key=f"by-{task}")
    chosen = by_label[label]
    grid = queries.grid(rows, metrics, chosen)
    look.show_grid(grid)
    look.show_notes([f"{look.DASH} {note}" for note in grid.notes])
    data = charts.chart_frame(grid, chosen)
    if not data.empty:
        st.altair_chart(charts.interval_chart(data, chosen))


def show_reported(details: pd.DataFrame | None) -> None:
    """Published numbers in tables of their own, one published table at a time.

    Args:
        details: the numbers that were measured here, if there are any.
    """
    st.subheader("Published numbers")
    st.caption(
        "Quoted from papers, on their data and with their scripts. They were not measured here and "
        "are not ranked with the tables below. Where a model was measured on the same data under "
        "the same protocol, the gap is measured minus published."
    )
    unverified = st.toggle("Also numbers whose source could not be read", value=False)
    every = queries.reported_rows(unverified=unverified)
    table = st.selectbox("Published table", list(dict.fromkeys(row["table"] for row in every)))
    rows = [row for row in every if row["table"] == table]
    found = [[] for _ in rows] if details is None else gaps(rows, details)
    look.show_rows(
        (
            "model",
            "data set",
            "metric",
            "value",
            "measured here",
            "gap",
            "protocol",
            "N",
            "source",
            "mark",
            "note",
        ),  # fmt: skip
        [
            (
                row["model"],
                row["dataset"],
                f"{row['metric']} {'↑' if row['higher_is_better'] == 'true' else '↓'}",
                f"{row['value']} {row['unit']}",
                "; ".join(f"{look.number(g.measured)} ({g.model})" for g in own) or look.DASH,
                "; ".join(gap.text for gap in own) or look.DASH,
                row["protocol"],
                row["n"],
                row["source"],
                row["mark"],
                row["note"],
            )
            for row, own in zip(rows, found, strict=True)
        ],
    )


def main() -> None:
    """Draw the page."""
    look.header(
        "Leaderboard",
        "Mean and 95 % bootstrap interval over samples. Highlighted: the best measured model of a "
        "column. Reference rows say what a metric can see; they do not compete.",
    )
    with st.sidebar:
        published = st.toggle("Show published numbers", key="published")
    if published:
        show_reported(source.details())
    details, metrics = source.numbers()
    pairs = queries.places(details)
    suite, dataset = pairs[0]
    if len(pairs) > 1:
        with st.sidebar:
            suite, dataset = st.selectbox("Data", pairs, format_func=" · ".join, key="data")
    here = queries.at_place(details, suite, dataset)
    whole = here[here["slice"] == ""]
    outdated = queries.at_place(source.outdated(), suite, dataset)
    if not outdated.empty:
        whole = pd.concat([whole, outdated], ignore_index=True)
    shown = filters(whole)
    with st.sidebar:
        look.offer_csv(f"{suite}-{dataset}.csv", look.csv_of(shown))
    tasks = queries.tasks_in(whole)
    for task, tab in zip(tasks, st.tabs([look.plain(task) for task in tasks]), strict=True):
        with tab:
            show_task(task, shown, metrics)


main()
