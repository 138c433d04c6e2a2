"""`editar-bench ls`: what there is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from editar_bench.commands import options

if TYPE_CHECKING:
    from editar_bench.contracts import MetricInfo

KINDS = ("tasks", "models", "metrics", "datasets", "protocols", "runs")


def ls(
    what: Annotated[
        str, typer.Argument(help="tasks, models, metrics, datasets, protocols or runs.")
    ],
    names: Annotated[
        list[str] | None, typer.Argument(help="Models to describe in full, or all.")
    ] = None,
    out: options.Out = options.DEFAULT_OUT,
) -> None:
    """List tasks, models, metrics, data sets, protocols, or the runs of a store.

    \b
    Examples:
      editar-bench ls models
      editar-bench ls models controlnet unicontrol
      editar-bench ls runs --out results/demo
    """
    from editar_bench.errors import UserError
    from editar_bench.registry import near_matches

    listings = {
        "tasks": _tasks,
        "models": lambda: _models(names or ()),
        "metrics": _metrics,
        "datasets": _datasets,
        "protocols": _protocols,
        "runs": lambda: _runs(out),
    }
    if what not in listings:
        raise UserError(f"'{what}' cannot be listed; {near_matches(what, KINDS)}")
    if names and what != "models":
        raise UserError(
            f"'{names[0]}' says nothing to `ls {what}`; only models are described one by one."
        )
    listings[what]()


def print_rows(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print left-aligned columns."""
    lines = [list(header), *([_printable(str(cell)) for cell in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        typer.echo("  ".join(padded).rstrip())


def _printable(text: str) -> str:
    """Without what a terminal takes for commands: a store may come from elsewhere."""
    return "".join(c if c.isprintable() else " " for c in text)


def _models(names: Sequence[str]) -> None:
    from editar_bench.commands import ls_models

    if names:
        ls_models.print_details(names)
        return
    print_rows(ls_models.HEADER, ls_models.overview())
    typer.echo(ls_models.FOOTER)


def _tasks() -> None:
    from editar_bench.registry import TASKS

    rows = [(*n.partition("/")[::2], e.summary, e.origin) for n, e in TASKS.entries().items()]
    print_rows(("task", "data set", "what it asks for", "from"), rows)


def _datasets() -> None:
    from editar_bench.commands.training_data import training_sets
    from editar_bench.registry import TASKS
    from editar_bench.suites import SUITES, datasets

    rows = []
    for name in datasets():
        tasks = [key.partition("/")[0] for key in TASKS.names() if key.endswith(f"/{name}")]
        suites = [
            suite.name for suite in SUITES.values() if name in (*suite.datasets, *suite.on_request)
        ]
        rows.append((name, ", ".join(tasks), ", ".join(suites) or "none"))
    rows += [(name, kind.task, "for training") for name, kind in training_sets().items()]
    print_rows(("data set", "tasks", "suite"), rows)


def _infos() -> list[MetricInfo]:
    from editar_bench.cost import COST
    from editar_bench.registry import METRICS

    return [METRICS.get(name)().info for name in METRICS.names()] + list(COST)


def _metrics() -> None:
    from editar_bench.tables import arrow

    rows = [
        (
            info.name,
            arrow(info.direction == "higher"),
            info.unit or "1",
            info.protocol,
            ", ".join(sorted(info.tasks)),
            info.description,
        )
        for info in _infos()
    ]
    print_rows(("metric", "", "unit", "protocol", "tasks", "what it says"), rows)


def _protocols() -> None:
    from editar_bench.metrics.protocols import PUBLISHED

    rows = sorted(
        (i.protocol, i.name, i.version, PUBLISHED.get(i.protocol, i.description)) for i in _infos()
    )
    print_rows(("protocol", "metric", "version", "what it is"), rows)


def _runs(out: Path) -> None:
    from editar_bench.store import Reader

    frame = Reader(out).run_list()
    columns = ["run_id", "suite", "dataset", "status", "started_at", "finished_at", "reason"]
    rows = frame[columns].itertuples(index=False)
    print_rows(columns, ([_shown(value) for value in row] for row in rows))


def _shown(value: Any) -> str:
    """Times to the second, and nothing where there is nothing, such as the end of a run that goes on."""
    if value is None or value != value:
        return ""
    return (
        value.isoformat(sep=" ", timespec="seconds") if hasattr(value, "isoformat") else str(value)
    )
