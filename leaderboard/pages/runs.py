"""How a run was made, and what it found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from editar_bench.store import Reader
from leaderboard import look, source


def readable(value: Any) -> str:
    """A JSON value as a line of text."""
    if value is None or value == "":
        return look.DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and not any(isinstance(item, list | dict) for item in value):
        return ", ".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def show_mapping(title: str, values: Mapping[str, Any]) -> None:
    """Plain values as a table, nested ones in sections of their own."""
    plain = {key: value for key, value in values.items() if not isinstance(value, dict)}
    if plain:
        if title:
            st.markdown(f"**{look.plain(title)}**")
        look.show_rows(("setting", "value"), [(k, readable(v)) for k, v in plain.items()])
    for key, value in values.items():
        if isinstance(value, dict) and value:
            show_mapping(f"{title} · {key}" if title else key, value)


def show_run(shared: Reader, run_id: str) -> None:
    """Everything recorded of one run."""
    record = shared.run_record(run_id)
    state = [run_id, record["status"], record["reason"] or ""]
    st.markdown(look.plain(" · ".join(filter(None, state))))
    ended = record["finished_at"]
    look.show_rows(
        ("suite", "data", "started (UTC)", "ended (UTC)"),
        [
            (
                record["suite"],
                record["dataset"],
                f"{record['started_at']:%Y-%m-%d %H:%M:%S}",
                look.DASH if pd.isna(ended) else f"{ended:%Y-%m-%d %H:%M:%S}",
            )
        ],
    )
    for task, remarks in shared.data_remarks(run_id).items():
        st.warning(look.plain(f"{task}: {' '.join(remarks)}"))
    settings, made_with, numbers = st.tabs(["Settings", "Made with", "Numbers"])
    with settings:
        show_mapping("", record["spec"])
    with made_with:
        show_mapping("", record["provenance"])
        st.download_button(
            "Download as JSON",
            json.dumps({"spec": record["spec"], "provenance": record["provenance"]}, indent=2),
            file_name=f"{run_id}.json",
            mime="application/json",
        )
    with numbers:
        rows = shared.runs()
        st.dataframe(rows[rows["run_id"] == run_id], hide_index=True)


def main() -> None:
    """Draw the page."""
    look.header("Runs", "What would be needed to repeat a run.")
    shared = source.reader()
    with source.sentences():
        runs = shared.run_list()
        if runs.empty:
            st.info(f"the results at {shared.out} hold no runs yet.")
            st.stop()
        show_run(shared, st.selectbox("Run", list(runs["run_id"])))


main()
