"""`editar-bench run`: make pictures, score them, sum up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from editar_bench.commands import options

if TYPE_CHECKING:
    from editar_bench.plan import ModelEntry
    from editar_bench.suites import Suite as SuiteRecord


def run(
    task: Annotated[
        str, typer.Option(help="all, or a comma list of edit, depth, edge, segmentation.")
    ] = "all",
    suite: options.Suite = None,
    dataset: options.Dataset = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="A comma list, settings after a colon: oracle,editar-scenes:guidance=1,top_k=0; "
            "or all. Without it: every model of the suite whose weights are present."
        ),
    ] = None,
    limit: options.Limit = None,
    seed: options.Seed = 0,
    repeats: Annotated[int, typer.Option(help="Pictures per sample, each with its own seed.")] = 1,
    engine: Annotated[
        str,
        typer.Option(
            help="Where the work is done: local (this process), or ray (a Ray cluster: the one that RAY_ADDRESS or "
            "`ray start` names, else one of this machine's cores and GPUs)."
        ),
    ] = "local",
    parts: Annotated[
        str,
        typer.Option(
            help="Where workers leave pictures and parts when they do not share --out: an fsspec address that every "
            "machine can reach, such as s3://bucket/run. Use another one for each results folder."
        ),
    ] = "",
    device: options.Device = "auto",
    batch_size: options.BatchSize = "auto",
    out: options.Out = options.DEFAULT_OUT,
) -> None:
    """Make pictures with every model, score them, and publish the results.

    \b
    Examples:
      editar-bench run --task all
      editar-bench run --task depth,edge --limit 50 --model codec,shuffled,editar-scenes
      editar-bench run --task edit --model editar-scenes:guidance=1 --repeats 3
      editar-bench run --task all --suite paper --model editar

    What the store already has is not done again. A run that was stopped goes on when the same command
    is given again. Exit code 1: some models or pictures failed, the others are stored. Exit code 2: data or
    weights are not on this machine; the lines say which, how large they are and what gets them.
    """
    from editar_bench import plan, suites
    from editar_bench.commands.running import carry_out
    from editar_bench.devices import resolve_device
    from editar_bench.engines import check_engine
    from editar_bench.exchange import Exchange
    from editar_bench.types import RunSpec

    check_engine(engine, device)
    Exchange(parts).check()
    chosen = suites.choose_suite(suite, dataset)
    tasks = suites.choose_tasks(task, chosen.datasets)
    size = options.read_batch_size(batch_size)
    models = _models(model, chosen)
    spec = RunSpec(
        suite=chosen.name,
        datasets=chosen.datasets,
        tasks=tasks,
        models=tuple(entry.label for entry in models),
        limit=limit,
        seed=seed,
        repeats=repeats,
        engine=engine,
        parts=parts,
        device=device,
        batch_size=size,
    )
    _check_pieces(
        suites.task_keys(tasks, chosen.datasets),
        models,
        named=model is not None and options.listed(model) != ["all"],
    )
    carry_out(plan.make_plan(spec, resolve_device(device), models), out)


def _check_pieces(keys: Sequence[str], models: Sequence[ModelEntry], named: bool) -> None:
    """Say what is missing; stop where nothing could be made without it.

    Args:
        keys: registry names of the tasks.
        models: those of the run.
        named: the models were asked for by name, so that their weights are needed.

    Raises:
        typer.Exit: with code 2.
    """
    from editar_bench import preflight

    found = preflight.lacking(keys, models if named else ())
    pieces = [*found.needed, *found.evaluators]
    if not pieces:
        return
    known = [piece.size for piece in pieces if piece.size is not None]
    total = preflight.size_text(sum(known) if known else None)
    total += " and more" if 0 < len(known) < len(pieces) else ""
    stop = bool(found.needed)
    end = "nothing was started" if stop else "their metrics will be failed rows"
    typer.echo(f"{len(pieces)} piece(s) are not on this machine, {total} in all; {end}:", err=True)
    for line in preflight.lines(pieces):
        typer.echo(line, err=True)
    for entry in models:
        if named and entry.missing:  # which of its files, and where
            typer.echo(f"  {entry.label}: {entry.reason}", err=True)
    if stop:
        raise typer.Exit(2)
    typer.echo(
        "The same command scores the stored pictures again once the evaluators are here.", err=True
    )


def _models(text: str | None, chosen: SuiteRecord) -> list[ModelEntry]:
    """The models asked for; without a request those of the suite whose weights are present, others get a note."""
    from editar_bench.errors import UserError
    from editar_bench.model_names import ModelRef, parse_models
    from editar_bench.plan import build_models
    from editar_bench.registry import MODELS

    asked = options.listed(text)
    if "all" in asked and len(asked) > 1:
        raise UserError(
            f"--model is '{text}'; 'all' stands alone: leave it out, or the other names."
        )
    if text is not None and asked != ["all"]:
        return build_models(parse_models(text))
    names = chosen.models if text is None else MODELS.names()
    built = build_models([ModelRef(name) for name in names])
    if text is not None:
        return built
    for entry in built:
        if entry.missing:
            typer.echo(f"{entry.label} is left out: {entry.reason}")
    present = [entry for entry in built if not entry.missing]
    if not present:
        raise UserError(
            f"No model of the suite '{chosen.name}' has its weights; see the lines above."
        )
    return present
