"""What `run` and `score` have in common: carry out a plan, show the table, choose the exit code."""

from __future__ import annotations

import shlex
from pathlib import Path

import typer

from editar_bench.plan import Plan
from editar_bench.progress import choose_reporter
from editar_bench.runner import run as run_plan
from editar_bench.tables import print_summary


def carry_out(plan: Plan, out: Path) -> None:
    """Run and print.

    Raises:
        typer.Exit: with code 1 when something failed; everything else is stored all the same.
    """
    infos = {info.name: info for entry in plan.tasks for info in entry.infos}
    summary = run_plan(plan, out, choose_reporter())
    print_summary(summary, infos)
    typer.echo(f"Results: {out / 'results.duckdb'}")
    place = shlex.quote(str(out))
    typer.echo(f"To look at them: editar-bench leaderboard --out {place}")
    typer.echo(f"All metrics as text: editar-bench report --out {place}")
    if summary.problems:
        typer.echo(f"{len(summary.problems)} problem(s); everything else is stored:", err=True)
        for problem in summary.problems:
            typer.echo(f"  {problem}", err=True)
        raise typer.Exit(1)
