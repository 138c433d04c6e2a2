"""One metric by edit type and by seen and unseen combinations."""

from __future__ import annotations

import streamlit as st

from leaderboard import look, queries, source


def main() -> None:
    """Draw the page."""
    look.header(
        "Slices",
        "One metric by category and slice. The deeper a cell, the better within its column.",
    )
    details, metrics = source.numbers()
    pairs = queries.places(details)
    left, middle, right = st.columns([1, 1, 2])
    suite, dataset = left.selectbox("Data", pairs, format_func=" · ".join, key="slice-data")
    here = queries.at_place(details, suite, dataset)
    task = middle.selectbox("Task", queries.tasks_in(here), key=f"slice-task-{dataset}")
    rows = here[here["task"] == task]
    columns = {column.label: column for column in queries.columns_of(rows, metrics)}
    column = columns[right.selectbox("Metric", list(columns), key=f"slice-metric-{dataset}-{task}")]
    slices, models = queries.slice_grid(rows, column)
    if slices == [""]:
        st.info("This task's results are not broken down by slices.")
    look.show_heat(slices, models, column)
    about = f"{column.metric} {column.arrow}{column.in_unit}, protocol {column.protocol}."
    st.caption(look.plain(about))
    chosen = rows[(rows["metric"] == column.metric) & (rows["protocol"] == column.protocol)]
    look.offer_csv(f"{task}-{column.metric}.csv", look.csv_of(chosen))


main()
