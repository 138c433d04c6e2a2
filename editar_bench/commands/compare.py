"""`editar-bench compare`: is one model better than another, or is it chance?"""

from __future__ import annotations

from typing import Annotated

import typer

from editar_bench.commands import options


def compare(
    a: Annotated[str, typer.Argument(help="A model, as the leaderboard calls it.", metavar="A")],
    b: Annotated[str, typer.Argument(help="The model to compare it with.", metavar="B")],
    task: Annotated[
        str | None, typer.Option(help="Only these tasks (comma list); all without it.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Only these data sets (comma list); all without it.")
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            help="Only these metrics (comma list). Without it: all but distances between distributions."
        ),
    ] = None,
    slice: Annotated[  # noqa: A002 - the name of the option
        str, typer.Option(help="Only samples of this category or slice, such as add or unseen.")
    ] = "",
    format: Annotated[  # noqa: A002 - the name of the option
        str, typer.Option(help="table, markdown, csv or json.")
    ] = "table",
    out: options.Out = options.DEFAULT_OUT,
) -> None:
    """Test two models of a store against each other, sample by sample.

    \b
    Examples:
      editar-bench compare editar-scenes instruct-pix2pix-scenes --task edit
      editar-bench compare editar-scenes controlnet-scenes --task depth,edge --format markdown
      editar-bench compare editar-common editar-common:guidance=3 --metric seg_miou --slice unseen

    \b
    One line per metric, over the samples that both models have:
      A - B      difference of the means with its 95 % bootstrap interval
      effect     difference in units of the standard deviation of the samples' differences (Cohen's d_z)
      A / = / B  samples where A is better, both are equal, B is better
      p          share of exchanges of A and B within samples that differ as much (10,000 drawn; pooled metrics: 1,000)
      p Holm     the same, corrected for all the lines: below 0.05 the better one is named

    Nothing is made or scored: what runs have left in the store is compared.
    """
    from editar_bench.compare import compare as compare_models
    from editar_bench.compare_report import FORMATS
    from editar_bench.errors import UserError
    from editar_bench.progress import Silent, choose_reporter
    from editar_bench.registry import near_matches
    from editar_bench.store import Reader

    if format not in FORMATS:
        raise UserError(f"There is no format '{format}'; {near_matches(format, FORMATS)}")
    rows = compare_models(
        Reader(out),
        a,
        b,
        tasks=options.listed(task),
        datasets=options.listed(dataset),
        metrics=options.listed(metric),
        slice_name=slice,
        reporter=choose_reporter() if format == "table" else Silent(),
    )
    typer.echo(FORMATS[format](a, b, rows), nl=False)
