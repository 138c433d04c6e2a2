"""The tables at the end of a run: one a task, a row a model, the task's first metrics as columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from editar_bench.contracts import MetricInfo
from editar_bench.store import Aggregate

if TYPE_CHECKING:
    from rich.table import Table

    from editar_bench.runner import Summary

HEADLINES = 4  # metrics a table; the report has them all
WIDTH = 120  # columns where the output is no terminal
DASH = "–"


def arrow(higher_is_better: bool) -> str:
    """The direction of a metric."""
    return "↑" if higher_is_better else "↓"


def number(value: float | None) -> str:
    """Four significant digits; a dash where there is no value."""
    return DASH if value is None else f"{value:.4g}"


def ratio(value: float | None) -> str:
    """Two decimals, and no minus before a zero; a dash where there is no value."""
    return DASH if value is None else f"{round(value, 2) + 0.0:.2f}"


def interval(low: float | None, high: float | None) -> str:
    """`[low, high]`, or nothing."""
    return "" if low is None or high is None else f"[{number(low)}, {number(high)}]"


def markdown_text(text: str) -> str:
    """One line of Markdown that holds no tag, link or picture: names and reasons may come from elsewhere."""
    return text.replace("<", "&lt;").replace("](", "]\\(").replace("][", "]\\[").replace("\n", " ")


def markdown_row(cells: Sequence[str]) -> str:
    """A line of a Markdown table; a bar inside a cell stays there."""
    escaped = (markdown_text(cell).replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"


def csv_value(value: Any) -> Any:
    """A value for a CSV file: text that a spreadsheet would compute, such as `=1+1`, begins with an apostrophe."""
    formula = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{value}" if formula else value


def _cell(row: Aggregate) -> str:
    if row.status != "ok":
        return row.status
    gap = "" if row.gap_closed is None else f"  gap {ratio(row.gap_closed)}"
    lines = [number(row.value) + gap, interval(row.ci_low, row.ci_high)]
    if row.n and row.n_undefined:
        lines.append(f"n {row.n}")
    return "\n".join(filter(None, lines))


def task_table(title: str, rows: Sequence[Aggregate], infos: Mapping[str, MetricInfo]) -> Table:
    """The table of one task from the aggregates of the whole split."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    metrics = list(dict.fromkeys(row.metric for row in rows))[:HEADLINES]
    table = Table(title=escape(title), box=SIMPLE_HEAD, title_justify="left", show_lines=False)
    table.add_column("model", overflow="fold")
    table.add_column("n", justify="right")
    for name in metrics:
        info = infos[name]
        unit = f" ({info.unit})" if info.unit else ""
        heading = escape(f"{name} {arrow(info.direction == 'higher')}{unit}")
        table.add_column(heading, overflow="fold")
    for label in dict.fromkeys(row.model for row in rows):
        mine = {row.metric: row for row in rows if row.model == label}
        samples = max(row.n + row.n_undefined for row in mine.values())
        of = max(row.n_expected for row in mine.values())
        table.add_row(escape(label), f"{samples}/{of}", *(_cell(mine[name]) for name in metrics))
    return table


def print_summary(summary: Summary, infos: Mapping[str, MetricInfo]) -> None:
    """Print every task's table and how to read it."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH)
    whole = [row for row in summary.aggregates if row.slice == ""]
    several = len({row.dataset for row in whole}) > 1
    for task, dataset in dict.fromkeys((row.task, row.dataset) for row in whole):
        title = f"{task} on {dataset}" if several else task
        rows = [r for r in whole if (r.task, r.dataset) == (task, dataset)]
        console.print(task_table(title, rows, infos))
    console.print(
        "value [95 % bootstrap interval over samples]; gap: part of the way from the floor row to the "
        "row of\nthe model's decoder; n: samples with a result / samples of the split.",
        markup=False,
    )
    for note in gap_notes(whole):
        console.print(note, markup=False)


def gap_notes(rows: Iterable[Aggregate]) -> list[str]:
    """Why gaps are missing: one line for each reason, with the models it concerns."""
    models: dict[str, dict[str, None]] = {}
    for row in rows:
        if row.gap_reason:
            models.setdefault(row.gap_reason, {})[row.model] = None
    return [f"no gap for {', '.join(names)}: {reason}" for reason, names in models.items()]
