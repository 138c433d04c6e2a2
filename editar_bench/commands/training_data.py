"""`editar-bench prepare --dataset pipe-train`: training sets as paired samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

# By name: the harness knows the rooms of the data no other way.
SETS = "data_prep.training.sets:SETS"
PREPARE = "data_prep.training.prepare:prepare"
DATA = "tasks._scenes:data_folder"


def training_sets() -> dict[str, Any]:
    """Their descriptions by name."""
    from editar_bench.registry import load_target

    return dict(load_target(SETS))


def place(name: str) -> Path:
    """The folder of a training set."""
    from editar_bench.registry import load_target

    folder: Path = load_target(DATA)().parent / name
    return folder


def prepare_training(name: str, limit: int | None) -> None:
    """Write a training set and say what came of it.

    Raises:
        UserError: its source cannot be read or reached.
    """
    from editar_bench.errors import UserError
    from editar_bench.progress import choose_reporter
    from editar_bench.registry import load_target

    if limit is not None and limit < 1:
        raise UserError(f"--limit is {limit}; it must be at least 1.")
    prepare = load_target(PREPARE)
    with choose_reporter().stage(f"{name} · samples", limit or 0) as advance:
        found = prepare(name, place(name), limit, advance)
    typer.echo(
        f"data    {training_sets()[name].task}/{name}: {found.rows:,} samples of {found.shards:,} of "
        f"{found.all_shards:,} shards, fingerprint {found.fingerprint[:16]}"
    )
    if found.skipped:
        typer.echo(f"{found.skipped:,} row(s) left out, the first: {found.reason}", err=True)
