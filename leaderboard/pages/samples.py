"""One sample: what was asked, what every model made of it, and the truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from editar_bench.errors import UserError
from editar_bench.store import Reader, decode_picture
from leaderboard import gallery, look, queries, source

WIDTH = 256  # pixels a picture is enlarged to, by a whole factor
PER_ROW = 5


@st.cache_data(show_spinner=False, max_entries=512)
def enlarged(path: str) -> NDArray[np.uint8] | None:
    """A picture with its pixels repeated, so that small ones are shown as they are; None if unreadable."""
    try:
        pixels = decode_picture(Path(path), path)
    except UserError:
        return None
    return gallery.enlarged(pixels, WIDTH)


@st.cache_data(show_spinner=False, max_entries=8)
def stored(
    _reader: Reader, out: str, stamp: tuple[int, ...], suite: str, dataset: str, task: str
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Samples, outputs and scores of a task, read once until a run publishes (`stamp`), not at every click."""
    samples = gallery.samples(_reader, suite, dataset, task)
    fingerprint = "" if samples.empty else str(samples["dataset_fingerprint"].iloc[0])
    outputs = gallery.outputs(_reader, suite, dataset, task, fingerprint)
    return samples, outputs, gallery.scores(_reader, list(outputs["output_id"]))


def show_picture(out: Path, path: str | None, title: str, missing: str) -> None:
    """A titled picture, or a sentence in its place."""
    st.markdown(f"**{look.plain(title)}**")
    file = gallery.picture_file(out, path)
    pixels = None if file is None else enlarged(str(file))
    if pixels is None:
        st.caption(look.plain(missing))
    else:
        st.image(pixels)


def pick(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    """Category and slice filters; `where` keeps the choices of other data and tasks apart."""
    with st.sidebar:
        categories = sorted({str(c) for c in frame["category"] if isinstance(c, str) and c})
        category = st.selectbox(
            "Category",
            ["", *categories],
            format_func=lambda c: c or "all",
            key=f"category-{where}",
        )
        names = [name for name in gallery.slices_of(frame) if name not in categories]
        chosen = st.selectbox(
            "Slice", ["", *names], format_func=lambda s: s or "all", key=f"slice-{where}"
        )
    return gallery.pick_samples(frame, category=category, in_slice=chosen)


def sort(
    frame: pd.DataFrame,
    outputs: pd.DataFrame,
    scores: pd.DataFrame,
    better: dict[str, bool],
    where: str,
) -> pd.DataFrame:
    """Order by one model's value of one metric, if that is wanted."""
    pairs = sorted({(m, p) for m, p in zip(scores["metric"], scores["protocol"], strict=True)})
    metrics = {" · ".join(pair): pair for pair in pairs}
    models = queries.model_order(zip(outputs["model"], outputs["kind"], strict=True))
    with st.sidebar:
        chosen = st.selectbox(
            "Sort by", ["split order", *metrics], key=f"sort-{where}", on_change=to_the_first
        )
        if chosen not in metrics:
            return frame
        by = metrics[chosen]
        model = st.selectbox("of", models, key=f"of-{where}", on_change=to_the_first)
        first = st.radio(
            "First",
            ["worst", "best"],
            horizontal=True,
            key=f"first-{where}",
            on_change=to_the_first,
        )
    joined = scores.merge(outputs[outputs["model"] == model], on="output_id")
    joined = joined[(joined["metric"] == by[0]) & (joined["protocol"] == by[1])]
    joined = joined[joined["value"].notna()]
    values = dict(zip(joined["sample_id"], joined["value"].astype(float), strict=True))
    return gallery.order_samples(
        frame, values, best_first=first == "best", higher_is_better=better.get(by[0], True)
    )


def to_the_first() -> None:
    """Another order is looked at from its beginning: whoever asks for the worst sees the worst."""
    st.session_state["place"] = 1


def step(count: int) -> int:
    """Previous, next, or a number typed in; the place of the sample."""
    state = st.session_state
    state["place"] = min(max(int(state.get("place", 1)), 1), count)

    def move(by: int) -> None:
        state["place"] = (state["place"] - 1 + by) % count + 1

    back, field, on, _ = st.columns([1, 1, 1, 4], vertical_alignment="bottom")
    back.button("← Previous", on_click=move, args=(-1,))
    on.button("Next →", on_click=move, args=(1,))
    field.number_input(f"Sample of {count}", min_value=1, max_value=count, step=1, key="place")
    return int(state["place"]) - 1


def show_sample(
    out: Path,
    sample: pd.Series,
    outputs: pd.DataFrame,
    scores: pd.DataFrame,
    better: dict[str, bool],
) -> None:
    """Words, pictures and scores of one sample."""
    st.subheader(look.plain(gallery.text_of(sample["prompt"])))
    category, slices = gallery.text_of(sample["category"]), gallery.names_of(sample["slices"])
    words = dict.fromkeys(filter(None, (str(sample["sample_id"]), category, *slices)))
    st.caption(look.plain(" · ".join(words)))
    for name, label in (("source_caption", "Source"), ("target_caption", "Target")):
        if caption := gallery.text_of(sample[name]):
            st.caption(look.plain(f"{label}: {caption}"))
    here = outputs[outputs["sample_id"] == sample["sample_id"]].set_index("model")
    order = queries.model_order(zip(here.index, here["kind"], strict=True))
    pictures = [
        ("Condition", sample["condition_path"], "No condition stored."),
        ("Truth", sample["target_path"], "This sample has no true picture."),
        *((m, here.loc[m, "path"], _why(here.loc[m])) for m in order),
    ]
    for start in range(0, len(pictures), PER_ROW):
        places = st.columns(PER_ROW)
        for place, (title, path, why) in zip(places, pictures[start:], strict=False):
            with place:
                show_picture(out, path, title, why)
    show_scores(here, order, scores, better)


def show_scores(
    here: pd.DataFrame, order: list[str], scores: pd.DataFrame, better: dict[str, bool]
) -> None:
    """The sample's scores, models by metrics, with an arrow to what is better."""
    by_id = {str(here.loc[model, "output_id"]): model for model in order}
    mine = scores[scores["output_id"].isin(by_id)]
    if mine.empty:
        st.caption("This sample has no scores of its own.")
        return
    values = {
        (by_id[row["output_id"]], row["metric"], row["protocol"]): row["value"]
        for row in mine.to_dict("records")
    }
    columns = sorted({(metric, protocol) for _, metric, protocol in values})
    heads = (f"{m} {'↑' if better.get(m, True) else '↓'} ({p})" for m, p in columns)
    look.show_rows(
        ("model", *heads),
        [(m, *(look.number(values.get((m, *column))) for column in columns)) for m in order],
    )


def _why(output: pd.Series) -> str:
    if output["status"] == "ok":
        return f"The file {gallery.text_of(output['path'])} is missing or unreadable."
    return f"No picture: {gallery.text_of(output['reason']) or output['status']}."


def main() -> None:
    """Draw the page."""
    look.header("Samples", "What was asked, what each model made of it, and the truth.")
    details, metrics = source.numbers()
    shared = source.reader()
    with st.sidebar:
        pairs = queries.places(details)
        suite, dataset = st.selectbox("Data", pairs, format_func=" · ".join, key="sample-data")
        here = queries.at_place(details, suite, dataset)
        task = st.selectbox("Task", queries.tasks_in(here), key=f"sample-task-{dataset}")
    with source.sentences():
        out, stamp = str(shared.out), shared.stamp()
        samples, outputs, scores = stored(shared, out, stamp, suite, dataset, task)
        if samples.empty:
            st.info("No pictures of this task are stored yet.")
            st.stop()
    where = f"{dataset}-{task}"
    picked = pick(samples, where)
    if picked.empty:
        st.info("No sample is in both this category and this slice.")
        st.stop()
    better = dict(zip(metrics["metric"], metrics["higher_is_better"].astype(bool), strict=True))
    ordered = sort(picked, outputs, scores, better, where)
    show_sample(shared.out, ordered.iloc[step(len(ordered))], outputs, scores, better)


main()
