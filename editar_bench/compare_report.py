"""A comparison of two models as text: a table for the terminal, Markdown, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

from editar_bench.compare import LEVEL, Compared
from editar_bench.tables import (
    DASH,
    WIDTH,
    arrow,
    csv_value,
    markdown_row,
    markdown_text,
    number,
    ratio,
)

HEADER = ("metric", "A", "B", "A - B", "effect", "A / = / B", "p", "p Holm", "better")


def columns(row: Compared) -> dict[str, Any]:
    """A line as plain values by name, for programs."""
    result = row.paired
    return {
        "suite": row.suite,
        "dataset": row.dataset,
        "task": row.task,
        "metric": row.metric,
        "protocol": row.protocol,
        "unit": row.unit,
        "higher_is_better": row.higher_is_better,
        "a": result.a,
        "b": result.b,
        "difference": result.difference.value,
        "ci_low": result.difference.low,
        "ci_high": result.difference.high,
        "effect": result.effect,
        "a_better": row.a_better,
        "equal": result.equal,
        "b_better": row.b_better,
        "n": result.difference.n,
        "n_left_out": row.left_out,
        "p": result.p,
        "p_holm": row.p_holm,
        "better": row.better,
    }


def cells(
    row: Compared, between: str = " ", shown: Callable[[float | None], str] = number
) -> tuple[str, ...]:
    """A line under `HEADER` for people.

    Args:
        row: what was compared.
        between: stands between a difference and its interval.
        shown: how means and differences are written; shares are written the same everywhere.
    """
    result, difference = row.paired, row.paired.difference
    spread = ""
    if difference.low is not None and difference.high is not None:
        spread = f"[{shown(difference.low)}, {shown(difference.high)}]"
    wins = DASH
    if result.equal is not None:
        wins = f"{row.a_better} / {result.equal} / {row.b_better}"
    return (
        f"{row.metric} {arrow(row.higher_is_better)}",
        shown(result.a),
        shown(result.b),
        between.join(filter(None, (shown(difference.value), spread))),
        ratio(result.effect),
        wins,
        _share(result.p),
        _share(row.p_holm),
        row.better or DASH,
    )


def _share(p: float | None) -> str:
    return DASH if p is None else f"{p:.4f}"


def _title(a: str, b: str, rows: Sequence[Compared]) -> str:
    first = rows[0]
    return f"{first.task} on {first.dataset}: A = {a}, B = {b}"


def _tasks(rows: Sequence[Compared]) -> list[list[Compared]]:
    found: dict[tuple[str, ...], list[Compared]] = {}
    for row in rows:
        found.setdefault((row.suite, row.dataset, row.task), []).append(row)
    return list(found.values())


def _notes(rows: Sequence[Compared]) -> list[str]:
    """How to read the lines, and what they leave out."""
    tests = sum(row.paired.p is not None for row in rows)
    notes = [
        f"{tests} test{'' if tests == 1 else 's'}; the better one is named where p, corrected by Holm for all of them, "
        f"is below {LEVEL:g}."
    ]
    counts = sorted({row.paired.difference.n for row in rows})
    if len(counts) == 1:
        notes.append(f"n = {counts[0]} samples that both have.")
    else:
        notes.append(f"n = {counts[0]} to {counts[-1]} samples that both have.")
    undefined: dict[tuple[str, int], list[str]] = {}
    for row in rows:
        if row.left_out:
            undefined.setdefault((row.task, row.left_out), []).append(row.metric)
    notes += [
        f"Left out, as undefined for one of the two or both: {count} {task} samples of {', '.join(names)}."
        for (task, count), names in undefined.items()
    ]
    return notes


def as_table(a: str, b: str, rows: Sequence[Compared]) -> str:
    """For the terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH)
    with console.capture() as captured:
        for of_task in _tasks(rows):
            title = escape(_title(a, b, of_task))
            table = Table(title=title, box=SIMPLE_HEAD, title_justify="left")
            for i, name in enumerate(HEADER):
                table.add_column(
                    escape(name), justify="left" if i == 0 else "right", overflow="fold"
                )
            for row in of_task:
                table.add_row(*map(escape, cells(row, "\n")))
            console.print(table)
        for note in _notes(rows):
            console.print(note, markup=False)
    return captured.get()


def markdown(a: str, b: str, rows: Sequence[Compared]) -> str:
    """A table a task, protocols below it."""
    lines: list[str] = []
    for of_task in _tasks(rows):
        lines += [markdown_text(f"## {_title(a, b, of_task)}"), ""]
        table = [HEADER, ("---", *["---:"] * (len(HEADER) - 1)), *map(cells, of_task)]
        lines += map(markdown_row, table)
        protocols = ", ".join(row.protocol for row in of_task)
        lines += ["", markdown_text(f"Protocols: {protocols}"), ""]
    return "\n".join([*lines, *map(markdown_text, _notes(rows)), ""])


def as_csv(a: str, b: str, rows: Sequence[Compared]) -> str:
    """All columns, a line a metric."""
    text = io.StringIO()
    records = [{"model_a": a, "model_b": b, **columns(row)} for row in rows]
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: csv_value(value) for name, value in row.items()} for row in records)
    return text.getvalue()


def as_json(a: str, b: str, rows: Sequence[Compared]) -> str:
    """The models and a list of objects with all columns."""
    record = {"a": a, "b": b, "metrics": [columns(row) for row in rows]}
    return json.dumps(record, indent=1, ensure_ascii=False) + "\n"


FORMATS: dict[str, Callable[[str, str, Sequence[Compared]], str]] = {
    "table": as_table,
    "markdown": markdown,
    "csv": as_csv,
    "json": as_json,
}
