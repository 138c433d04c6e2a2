"""Where the pages' numbers come from: the results folder, a shared reader, and sentences in place of tracebacks."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import streamlit as st

from editar_bench.store import Reader, UserError
from editar_bench.tables import markdown_text

VARIABLE = "EDITAR_BENCH_OUT"


def results_folder() -> Path:
    """The folder given by `--out` after `--`, by the environment variable, or `results`."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--out", default=os.environ.get(VARIABLE, "results"))
    known, _ = parser.parse_known_args(sys.argv[1:])
    return Path(known.out)


@st.cache_resource(show_spinner=False)
def _reader(out: str) -> Reader:
    return Reader(Path(out))


def reader() -> Reader:
    """The reader of the results folder, one for all sessions."""
    return _reader(str(results_folder().resolve()))


@contextmanager
def sentences() -> Iterator[None]:
    """Show a UserError as a sentence and end the page there."""
    try:
        yield
    except UserError as error:
        st.info(markdown_text(str(error)))  # it may quote a store from elsewhere
        st.stop()


@st.cache_data(show_spinner=False, max_entries=8)
def _details(out: str, stamp: tuple[int, ...]) -> tuple[pd.DataFrame, pd.DataFrame]:
    shared = _reader(out)
    return shared.details(), shared.metrics()


def details() -> pd.DataFrame | None:
    """`Reader.details` of the newest published file; None where there is none to read."""
    shared = reader()
    try:
        return _details(str(shared.out), shared.stamp())[0]
    except UserError:
        return None


@st.cache_data(show_spinner=False, max_entries=8)
def _outdated(out: str, stamp: tuple[int, ...]) -> pd.DataFrame:
    return _reader(out).outdated()


def outdated() -> pd.DataFrame:
    """`Reader.outdated` of the newest published file; ends the page with a sentence when it cannot be read."""
    shared = reader()
    with sentences():
        return _outdated(str(shared.out), shared.stamp())


def numbers() -> tuple[pd.DataFrame, pd.DataFrame]:
    """`Reader.details` and `Reader.metrics` of the newest published file.

    Ends the page with a sentence when there is nothing to show.
    """
    shared = reader()
    with sentences():
        frame, metrics = _details(str(shared.out), shared.stamp())
    if frame[frame["kind"] != "reported"].empty:
        st.info(
            f"the results at {shared.out} hold no numbers yet; they appear here as soon as a run has "
            "finished its first task."
        )
        st.stop()
    return frame, metrics
