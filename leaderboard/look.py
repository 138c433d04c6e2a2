"""How numbers and tables look: one set of colors, one way to write a value, HTML tables with tooltips."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd
import streamlit as st

from editar_bench.tables import csv_value, ratio
from leaderboard.queries import Cell, Column, Grid, Row, goodness

GRAY = "#7b8794"  # seen on white and on black pages alike
KIND_COLORS = {"measured": "#0b7285", "reference": GRAY, "reported": "#b08900"}
DASH = "–"
_LONG = 60  # characters from which a cell of text is wide

# Pale text is the page's own color, thinned: it can be read on light and dark pages. `Canvas` is the page itself.
_CSS = """<style>
.block-container{padding-top:2.6rem;max-width:1500px}
.eb{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.92rem}
.eb th,.eb td{border:0;border-bottom:1px solid rgba(128,128,128,.22);padding:.42rem .7rem;
text-align:right;vertical-align:top;white-space:nowrap}
.eb th{font-weight:600;vertical-align:bottom}
.eb th:first-child,.eb td:first-child{text-align:left;position:sticky;left:0;background:Canvas;
white-space:normal;overflow-wrap:anywhere;min-width:min(18rem,40vw)}
.eb.text td,.eb.text th{text-align:left;white-space:normal}
.eb.text th:first-child,.eb.text td:first-child{min-width:min(12rem,40vw)}
.eb.text td.long{min-width:min(20rem,60vw)}
.eb small,.eb tr.reference td,.eb .none,.notes{color:color-mix(in srgb,currentColor 72%,transparent)}
.eb small{display:block;font-weight:400;font-size:.74rem;line-height:1.25}
.eb tr td[style],.eb tr td[style] small{color:inherit}
.eb td.best{background:rgba(11,114,133,.12);font-weight:700}
.eb .none{cursor:help;border-bottom:1px dotted}
.chip{display:inline-block;border-radius:.6rem;padding:0 .45rem;font-size:.7rem;line-height:1.15rem;
color:#fff;margin-left:.35rem;vertical-align:middle}
.chip.measured{background:#0b7285}.chip.reference{background:#6b7480}.chip.reported{background:#8a6a00}
.chip.partial{background:#c2410c}
.scroll{overflow-x:auto}
.notes{font-size:.82rem;margin-top:.4rem}
</style>"""


def header(title: str, subtitle: str) -> None:
    """The head of a page, with the style sheet; before all choices, which last while other pages are looked at."""
    for key, value in st.session_state.items():
        st.session_state[key] = value  # Streamlit forgets what a page did not draw
    st.markdown(_CSS, unsafe_allow_html=True)
    st.title(title)
    st.caption(subtitle)


def number(value: float | None) -> str:
    """A value with about four significant digits."""
    if value is None or not math.isfinite(value):
        return DASH
    if value == 0:
        return "0"
    digits = 3 - math.floor(math.log10(abs(value)))
    if digits > 7:
        return f"{value:.2e}"
    return f"{value:,.{max(digits, 0)}f}"


def chip(text: str, kind: str) -> str:
    """A small colored label."""
    return f'<span class="chip {escape(kind)}">{escape(text)}</span>'


def show_grid(grid: Grid) -> None:
    """The table of one task."""
    heads = "".join(_head(column) for column in grid.columns)
    body = "".join(_row(row, grid.columns) for row in grid.rows)
    _html("scroll", f'<table class="eb"><tr><th>model</th>{heads}</tr>{body}</table>')


def show_heat(slices: Sequence[str], rows: Sequence[Row], column: Column) -> None:
    """One metric, models by slices; the deeper a cell, the better within its column."""
    shades: dict[str, Mapping[str, float | None]] = {}
    for name in slices:
        cells = {row.model: row.cells.get((name, column.protocol)) for row in rows}
        values = [cell.value if cell else None for cell in cells.values()]
        shades[name] = dict(zip(cells, goodness(values, column.higher_is_better), strict=True))
    heads = "".join(f"<th>{escape(name or 'all')}</th>" for name in slices)
    body = "".join(
        f'<tr class="{escape(row.kind)}"><td>{escape(row.model)}{_stamp(row)}</td>'
        + "".join(
            _heat_cell(row.cells.get((name, column.protocol)), shades[name][row.model])
            for name in slices
        )
        + "</tr>"
        for row in rows
    )
    _html("scroll", f'<table class="eb"><tr><th>model</th>{heads}</tr>{body}</table>')


def show_rows(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A plain table of text; the first column stays in sight."""
    top = "".join(f"<th>{escape(head)}</th>" for head in heads)
    body = "".join(
        "<tr>" + "".join(_text_cell(str(value)) for value in row) + "</tr>" for row in rows
    )
    _html("scroll", f'<table class="eb text"><tr>{top}</tr>{body}</table>')


def show_notes(notes: Sequence[str]) -> None:
    """Small lines of plain text."""
    if notes:
        _html("notes", "".join(f"<div>{escape(note)}</div>" for note in notes))


def offer_csv(name: str, content: str) -> None:
    """A button that takes away what is shown as a file."""
    st.download_button("Download as CSV", content, file_name=name, mime="text/csv")


def csv_of(frame: pd.DataFrame) -> str:
    """A data frame as a CSV file that no spreadsheet computes."""
    names = frame.select_dtypes(include=["object", "string"]).columns
    safe = {str(name): frame[name].map(csv_value) for name in names}
    return str(frame.assign(**safe).to_csv(index=False))


def plain(text: str) -> str:
    """Text that Streamlit's Markdown shows as it is: prompts hold brackets, model names colons."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", text)


def _text_cell(text: str) -> str:
    css = ' class="long"' if len(text) > _LONG else ""
    return f"<td{css}>{escape(text)}</td>"


def _html(css: str, content: str) -> None:
    # After an empty line of a cell's text Markdown would no longer take it for HTML.
    one_line = " ".join(content.splitlines())
    st.markdown(f'<div class="{css}">{one_line}</div>', unsafe_allow_html=True)


def _head(column: Column) -> str:
    return (
        f"<th>{escape(column.metric)} {column.arrow}"
        f"<small>{escape(column.protocol)}{escape(column.in_unit)}</small></th>"
    )


def _stamp(row: Row) -> str:
    return chip("partial", "partial") if row.partial else ""


def _row(row: Row, columns: Sequence[Column]) -> str:
    name = (
        f"<td>{escape(row.model)}{chip(row.kind, row.kind)}{_stamp(row)}"
        f"<small>N = {row.n:,} / {row.n_expected:,}</small></td>"
    )
    cells = "".join(_cell(row.cells.get(column.key), row) for column in columns)
    return f'<tr class="{escape(row.kind)}">{name}{cells}</tr>'


def _cell(cell: Cell | None, row: Row) -> str:
    if cell is None:
        return f'<td><span class="none" title="not part of any run">{DASH}</span></td>'
    if cell.value is None:
        return f"<td>{_dash(cell)}</td>"
    lines = []
    if cell.low is not None and cell.high is not None:
        lines.append(f"{number(cell.low)} … {number(cell.high)}")
    if cell.gap is not None:
        lines.append(f"gap closed {ratio(cell.gap)}")
    if cell.n != row.n:
        lines.append(f"n = {cell.n:,}")
    small = "".join(f"<small>{line}</small>" for line in lines)
    css = ' class="best"' if cell.best else ""
    return f'<td{css} title="{escape(_hint(cell))}">{number(cell.value)}{small}</td>'


def _heat_cell(cell: Cell | None, shade: float | None) -> str:
    if cell is None:
        return f"<td>{DASH}</td>"
    if cell.value is None or shade is None:
        return f"<td>{_dash(cell)}</td>"
    color = f"rgba(11,114,133,{0.04 + 0.42 * shade:.2f})"
    return (
        f'<td style="background:{color}" title="{escape(_hint(cell))}">{number(cell.value)}'
        f"<small>n = {cell.n:,}</small></td>"
    )


def _dash(cell: Cell) -> str:
    why = f"{cell.status}: {cell.reason or 'no value'}"
    return f'<span class="none" title="{escape(why)}">{DASH}</span>'


def _hint(cell: Cell) -> str:
    parts = [f"N = {cell.n:,} / {cell.n_expected:,}"]
    if cell.low is not None and cell.high is not None:
        parts.append(f"95 % interval {number(cell.low)} to {number(cell.high)}")
    if cell.n_undefined:
        parts.append(f"undefined for {cell.n_undefined:,}")
    if cell.reason:
        parts.append(cell.reason)
    if cell.gap_reason:
        parts.append(f"no gap: {cell.gap_reason}")
    return "; ".join(parts)
