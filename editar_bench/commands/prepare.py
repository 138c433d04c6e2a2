"""`editar-bench prepare`: build the data of a suite and verify its weights before a run needs them."""

from __future__ import annotations

import typer

from editar_bench.commands import options


def prepare(suite: options.Suite = None, dataset: options.Dataset = None) -> None:
    """Build the data of a suite and verify data and weights.

    \b
    Examples:
      editar-bench prepare
      editar-bench prepare --dataset scenes

    Exit code 1: something is missing or corrupt; the lines say what.
    """
    from editar_bench import provenance
    from editar_bench.suites import choose_suite, choose_tasks

    provenance.check_rooms()
    chosen = choose_suite(suite, dataset)
    good = [
        _prepare_task(f"{task}/{chosen.dataset}") for task in choose_tasks("all", chosen.dataset)
    ]
    good += [_check_model(name) for name in chosen.models]
    if not all(good):
        raise typer.Exit(1)


def _prepare_task(key: str) -> bool:
    from editar_bench.errors import UserError
    from editar_bench.plan import data_remarks
    from editar_bench.registry import TASKS

    try:
        module = TASKS.get(key)()
        count = len(module.load())
        typer.echo(f"data    {key}: {count} samples, fingerprint {module.fingerprint()[:16]}")
        for remark in data_remarks(module):
            typer.echo(f"data    {key}: {remark}")
    except UserError as error:
        typer.echo(f"data    {key}: {error}")
        return False
    return True


def _check_model(name: str) -> bool:
    from editar_bench.errors import UserError
    from editar_bench.model_names import ModelRef, create_model

    try:
        _, model = create_model(ModelRef(name))
    except UserError as error:
        typer.echo(f"weights {name}: {error}")
        return False
    files = len(model.fingerprint)
    typer.echo(f"weights {name}: {f'{files} file(s) verified' if files else 'needs none'}")
    return True
