"""What the numbers mean."""

from __future__ import annotations

import streamlit as st

from leaderboard import look, source

_NOTES = """
**Intervals** are percentile bootstrap intervals (95 %). The sample is resampled, so that repeats of one sample
count as one. Values of a whole set, such as pooled mIoU, are computed anew for every resample. Distances between sets
are no means: theirs (`kernel_distance`, FID, KID) come from each picture's influence on the value.

**N** is the number of samples behind a value, out of the whole split. Samples where a metric is undefined (the
background of an edit that has none) and pictures that could not be made are left out and counted, never
averaged in as zero. A row that lacks samples is stamped *partial*.

**Gap closed** is (model − floor) / (ceiling − floor). The ceiling is the truth sent through the model's own
decoder (`codec`, for the compact diffusion models `codec-kl`, for released models rows such as `codec-released` and
`codec-sd`), with the weights that the model has; the floor is the truth of another sample (`shuffled`), or the source
picture (`copy-source`) for edits. 1 means that nothing but the decoder stands between the model and the truth. It is
not defined for distances between distributions, background preservation and cost.

**Protocols** name how a number was made. Numbers of different protocols stand in different columns and are never
ranked together. A metric whose version changed is computed again from the stored pictures.

**A dash** means that there is no number; its reason appears under the pointer and below the table.
"""


def main() -> None:
    """Draw the page."""
    look.header("Methods", "What each metric measures, and how to read the tables.")
    shared = source.reader()
    with source.sentences():
        metrics = shared.metrics()
    if metrics.empty:
        st.info(f"the results at {shared.out} describe no metrics yet.")
    else:
        look.show_rows(
            ("metric", "", "protocol", "unit", "version", "floor", "level", "tasks", "meaning"),
            [
                (
                    row["metric"],
                    "↑" if row["higher_is_better"] else "↓",
                    row["protocol"],
                    row["unit"],
                    row["version"],
                    look.DASH if row["gap"] == "none" else row["gap"],
                    "set" if row["set_level"] else "sample",
                    ", ".join(row["tasks"]),
                    row["description"],
                )
                for row in metrics.to_dict("records")
            ],
        )
    st.markdown(_NOTES)


main()
