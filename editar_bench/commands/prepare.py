"""`editar-bench prepare`: build the data of a suite and verify its weights before a run needs them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from editar_bench.commands import options, training_data

if TYPE_CHECKING:
    from editar_bench.model_names import ModelRef


def prepare(
    suite: options.Suite = None,
    dataset: options.Dataset = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Only fetch and convert the released weights of a model, such as editar."
        ),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(help="Afterwards write data, weights and checksums into this tar file."),
    ] = None,
    from_bundle: Annotated[
        Path | None,
        typer.Option("--from", help="First unpack data and weights from a file of --bundle."),
    ] = None,
    from_images: Annotated[
        Path | None,
        typer.Option(help="Only make the data set 'photos' from this folder of photos."),
    ] = None,
    conditions: Annotated[
        str | None,
        typer.Option(
            help="With --from-images: a comma list of canny (the default), depth, segmentation."
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(help="With a training set: stop after the shard that brings N samples."),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="With --from-images: auto (the default), cpu, cuda or cuda:N."),
    ] = None,
) -> None:
    """Fetch and build the data of a suite and verify data and weights.

    Published data sets come from the hub: only the shards of the test split, and of them only the columns that are
    read. What is here is not fetched again; a copy in the original layout, at `<data set>/original`, does as well.

    \b
    Examples:
      editar-bench prepare
      editar-bench prepare --dataset scenes
      editar-bench prepare --model editar
      editar-bench prepare --model editar:weights=/data/editar_release.pt
      editar-bench prepare --model controlnet:edit=none,diffusers:owner/name
      editar-bench prepare --from-images ~/photos --conditions canny,depth,segmentation
      editar-bench prepare --dataset pipe-train --limit 10000

    \b
    For a machine without network, where editar-bench is installed:
      editar-bench prepare --suite scenes --bundle scenes.tar     here; copy the file, and there
      editar-bench prepare --suite scenes --from scenes.tar

    A bundle is verified as a whole before anything is written, and it replaces no file that is there. That of the suite
    paper holds the data sets alone; released weights travel as their publishers' files. The data goes
    to the folder named by EDITAR_BENCH_DATA, or else to ./data, where a run started in the same folder finds it.

    Training sets (`ls datasets` names them) are written shard by shard, which --limit ends early; rows that cannot be
    used are counted. They need no suite.

    A photo's caption is a text file of its name beside it, or stands in a metadata.jsonl or metadata.csv at the top
    of the folder (columns file_name and text). Photos that cannot be used are listed in photos/skipped.csv.

    Exit code 1: something is missing or corrupt; the lines say what.
    """
    from editar_bench.bundle import unpack_bundle, write_bundle
    from editar_bench.errors import UserError
    from editar_bench.suites import choose_suite, choose_tasks, task_keys

    training = dataset if dataset in training_data.training_sets() else None
    _check_alone(
        {"--from-images": from_images, "--model": model, f"--dataset {training}": training},
        {
            "--suite": suite,
            "--dataset": None if training else dataset,
            "--bundle": bundle,
            "--from": from_bundle,
        },
    )
    if from_images is None and (conditions is not None or device is not None):
        raise UserError("--conditions and --device go with --from-images DIR alone; add it.")
    if bundle is not None and (not bundle.name or bundle.name == ".." or bundle.is_dir()):
        raise UserError(
            f"--bundle is '{bundle}', which is not a file name; give one, such as scenes.tar."
        )
    if training is not None:
        training_data.prepare_training(training, limit)
        return
    if limit is not None:
        raise UserError("--limit is for training sets alone; other data is prepared as a whole.")
    if from_images is not None:
        from editar_bench.commands.photos import make_pairs

        wanted = "canny" if conditions is None else conditions
        make_pairs(from_images, wanted, "auto" if device is None else device)
        return
    if model is not None:
        _fetch_weights(model)
        return
    chosen = choose_suite(suite, dataset)
    places = chosen.places() if bundle or from_bundle else {}
    if from_bundle is not None:
        count = unpack_bundle(from_bundle, chosen.name, places)
        typer.echo(f"bundle  {from_bundle}: verified, {count} file(s) new")
    keys = task_keys(choose_tasks("all", chosen.datasets), chosen.datasets)
    data = [_prepare_task(key) for key in keys]
    from editar_bench.model_names import ModelRef

    weights = [_check_model(ModelRef(name)) for name in chosen.models]
    # Released weights are no part of a bundle: they are their publishers', and travel as their files.
    whole = all(data) and (all(weights) or "weights" not in places)
    if bundle is not None and whole:
        count = write_bundle(bundle, chosen.name, places)
        typer.echo(f"bundle  {bundle}: {count} file(s), {bundle.stat().st_size / 2**20:.1f} MiB")
    if not all(data + weights):
        raise typer.Exit(1)


def _check_alone(jobs: Mapping[str, object], others: Mapping[str, object]) -> None:
    """Refuse, before any work, options that a job beside them would leave unread."""
    from editar_bench.errors import UserError

    given = [name for name, value in jobs.items() if value is not None]
    more = given[1:] + [name for name, value in others.items() if value is not None]
    if given and more:
        raise UserError(
            f"prepare {given[0]} is a job of its own; leave {' and '.join(more)} for another command."
        )


def _fetch_weights(text: str) -> None:
    """Let each model named in `--model` fetch what it can; the others are only checked."""
    from editar_bench.model_names import check_settings, parse_models, refused
    from editar_bench.registry import MODELS

    good = True
    for ref in parse_models(text):
        factory = MODELS.get(ref.base)
        check_settings(ref, factory)
        fetch = getattr(factory, "prepare", None)
        if fetch is None:
            good &= _check_model(ref)
            continue
        try:
            paths = list(fetch(**_understood(fetch, ref.settings)))
        except (TypeError, ValueError, ArithmeticError) as error:
            raise refused(ref, error) from error
        for path in paths:
            typer.echo(f"weights {ref.base}: {path}")
    if not good:
        raise typer.Exit(1)


def _understood(fetch: Callable[..., Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a model's settings that say where its weights are."""
    parameters = inspect.signature(fetch).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return dict(settings)
    return {name: value for name, value in settings.items() if name in parameters}


def _prepare_task(key: str) -> bool:
    from editar_bench.errors import UserError
    from editar_bench.plan import data_remarks
    from editar_bench.preflight import lacking
    from editar_bench.progress import choose_reporter
    from editar_bench.registry import TASKS

    try:
        module = TASKS.get(key)()
        pieces = lacking([key], ()).needed
        if pieces and hasattr(module, "fetch"):
            with choose_reporter().stage(f"{key} · bytes", pieces[0].size or 0) as advance:
                module.fetch(advance)
        count = len(module.load())
        typer.echo(f"data    {key}: {count} samples, fingerprint {module.fingerprint()[:16]}")
        for remark in data_remarks(module):
            typer.echo(f"data    {key}: {remark}")
    except UserError as error:
        typer.echo(f"data    {key}: {error}")
        return False
    return True


def _check_model(ref: ModelRef) -> bool:
    from editar_bench.errors import BadSettings, UserError
    from editar_bench.model_names import create_model

    try:
        _, model = create_model(ref)
    except BadSettings:
        raise
    except UserError as error:
        typer.echo(f"weights {ref.base}: {error}")
        return False
    files = len(model.fingerprint)
    typer.echo(f"weights {ref.base}: {f'{files} file(s) verified' if files else 'needs none'}")
    return True
