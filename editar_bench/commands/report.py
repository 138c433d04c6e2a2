"""`editar-bench report`: the published results as text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from editar_bench.commands import options, output_file


def report(
    format: Annotated[  # noqa: A002 - the name of the option
        str, typer.Option(help="markdown, latex, csv, json or html (a page that stands alone).")
    ] = "markdown",
    suite: Annotated[str | None, typer.Option(help="Only these suites (comma list).")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only these data sets (comma list).")] = None,
    task: Annotated[str | None, typer.Option(help="Only these tasks (comma list).")] = None,
    metric: Annotated[str | None, typer.Option(help="Only these metrics (comma list).")] = None,
    protocol: Annotated[str | None, typer.Option(help="Only these protocols (comma list).")] = None,
    file: Annotated[Path | None, typer.Option(help="Write here instead of printing.")] = None,
    out: options.Out = options.DEFAULT_OUT,
) -> None:
    """Write the leaderboard of a store: every metric of every model, with intervals and gap_closed.

    \b
    Examples:
      editar-bench report --task depth --dataset scenes
      editar-bench report --format latex --metric depth_rmse,edge_f1
      editar-bench report --format html --file results.html
    """
    from editar_bench.errors import UserError
    from editar_bench.registry import near_matches
    from editar_bench.report import FORMATS, read_rows

    if format not in FORMATS:
        raise UserError(f"There is no format '{format}'; {near_matches(format, FORMATS)}")
    asked = {
        "suite": suite,
        "dataset": dataset,
        "task": task,
        "metric": metric,
        "protocol": protocol,
    }
    filters = {name: names for name, value in asked.items() if (names := options.listed(value))}
    text = FORMATS[format](read_rows(out, filters))
    if file is None:
        typer.echo(text, nl=False)
        return
    output_file.write_text(file, text)
    typer.echo(f"Written: {file}")
