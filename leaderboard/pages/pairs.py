"""Two models against each other, sample by sample: what is better by more than chance."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from editar_bench.compare import Compared, compare
from editar_bench.compare_report import HEADER, as_csv, cells
from editar_bench.store import Reader
from leaderboard import charts, look, queries, source

EVERYTHING = "all samples"


@st.cache_data(show_spinner="comparing …", max_entries=64)
def compared(
    out: str, stamp: tuple[int, ...], a: str, b: str, task: str, dataset: str, part: str
) -> list[Compared]:
    """The comparison; `stamp` makes it anew once a run has published."""
    return compare(Reader(Path(out)), a, b, tasks=[task], datasets=[dataset], slice_name=part)


def main() -> None:
    """Draw the page."""
    look.header(
        "Two models",
        "The same samples, one difference each. The better model is named where exchanging the two within samples "
        "makes as large a difference in fewer than one case in twenty, corrected for all lines.",
    )
    details, _ = source.numbers()
    places = queries.places(details)
    left, middle, right, last = st.columns([1, 2, 2, 1])
    suite, dataset = left.selectbox("Data", places, format_func=" · ".join, key="pair-data")
    here = queries.at_place(details, suite, dataset)
    task = left.selectbox("Task", queries.tasks_in(here), key=f"pair-task-{dataset}")
    rows = here[(here["task"] == task) & here["value"].notna()]
    order = [row.model for row in queries.grid(rows, source.numbers()[1]).rows]
    if len(order) < 2:
        st.info("Fewer than two models have results here; a comparison needs two.")
        st.stop()
    a = middle.selectbox("A", order, key="pair-a")
    b = right.selectbox("B", [model for model in order if model != a], key="pair-b")
    slices = sorted(set(rows["slice"]) - {""})
    part = last.selectbox("Samples", [EVERYTHING, *slices], key=f"pair-samples-{dataset}-{task}")
    shared = source.reader()
    with source.sentences():
        found = compared(
            str(shared.out), shared.stamp(), a, b, task, dataset, "" if part == EVERYTHING else part
        )
    look.show_rows(HEADER, [cells(row, shown=look.number) for row in found])
    counts = sorted({row.paired.difference.n for row in found})
    samples = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    st.caption(
        f"{samples} samples that both have. Effect: difference in units of the standard deviation of the samples' "
        "differences (Cohen's d_z). Distances between distributions have no pairs and are not here."
    )
    look.offer_csv(f"{task}-comparison.csv", as_csv(a, b, found))
    frame = charts.effect_frame(found)
    if not frame.empty:
        st.altair_chart(charts.effect_chart(frame, a, b))


main()
