"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Out = Annotated[Path, typer.Option(help="Folder of the results store.", file_okay=False)]
Suite = Annotated[
    str | None, typer.Option(help="A suite: data set and models that belong together.")
]
Dataset = Annotated[str | None, typer.Option(help="A data set, instead of a suite.")]
Limit = Annotated[int | None, typer.Option(help="Only the first so many samples of each task.")]
Seed = Annotated[
    int, typer.Option(help="Seed of the run; each picture's own seed follows from it.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
BatchSize = Annotated[
    str,
    typer.Option(
        help="auto (each model's own, fitted to the free memory) or a number, the same for all models."
    ),
]

DEFAULT_OUT = Path("results")


def read_batch_size(text: str) -> int | None:
    """`auto` is None; anything but a positive number is an error."""
    from editar_bench.errors import UserError

    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"--batch-size is '{text}'; write auto or a number of at least 1.")
    return int(text)
