"""`editar-bench train`: hands its arguments to the trainer."""

from __future__ import annotations

import typer

TRAINER = "models.training.cli:main"


def train(context: typer.Context) -> None:
    """Train a network, or all of them in order (`editar-bench train --help` lists the options).

    \b
    Examples:
      editar-bench train all --minutes 120
      editar-bench train codec --minutes 30
      editar-bench train editar --recipe paper --dry-run
    """
    from editar_bench.registry import load_target

    code = load_target(TRAINER)(list(context.args))
    if code:
        raise typer.Exit(int(code))
