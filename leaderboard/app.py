"""The leaderboard: `streamlit run leaderboard/app.py -- --out results`."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

PAGES = Path(__file__).parent / "pages"


def main() -> None:
    """Lay out the pages and run the chosen one."""
    st.set_page_config(page_title="editar-bench", layout="wide")
    pages = [
        st.Page(PAGES / "table.py", title="Leaderboard", default=True),
        st.Page(PAGES / "samples.py", title="Samples"),
        st.Page(PAGES / "comparison.py", title="Comparison"),
        st.Page(PAGES / "pairs.py", title="Two models"),
        st.Page(PAGES / "slices.py", title="Slices"),
        st.Page(PAGES / "runs.py", title="Runs"),
        st.Page(PAGES / "methods.py", title="Methods"),
    ]
    st.navigation(pages).run()


main()
