"""`editar-bench score`: pictures somebody already has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from editar_bench.commands import options

FOLDER_ADAPTER = "models.adapters.folder:FolderOfPictures"


def score(
    images: Annotated[Path, typer.Option(help="Folder with one <sample id>.png a sample.")],
    task: Annotated[str, typer.Option(help="edit, depth, edge or segmentation.")],
    name: Annotated[str, typer.Option(help="The name of the model in the results.")],
    dataset: options.Dataset = None,
    limit: options.Limit = None,
    device: options.Device = "auto",
    out: options.Out = options.DEFAULT_OUT,
) -> None:
    """Score finished pictures: one file `<sample id>.png` a sample, of the size of the condition.

    \b
    Example:
      editar-bench score --images my-pictures --task edit --dataset scenes --name MY-MODEL

    Missing pictures are counted as failed and named. An unreadable or wrongly sized one stops the command
    before anything is stored.
    """
    from editar_bench import plan, provenance, suites
    from editar_bench.commands.running import carry_out
    from editar_bench.devices import resolve_device
    from editar_bench.errors import UserError
    from editar_bench.folder import check_pictures
    from editar_bench.registry import MODELS, load_target
    from editar_bench.types import RunSpec

    provenance.check_rooms()
    if not name.strip() or not name.isprintable():
        raise UserError(f"--name is {name!r}; write a name that can be read in a table.")
    if name.partition(":")[0] in MODELS.names():
        raise UserError(f"'{name}' is the name of a registered model; choose another --name.")
    chosen = suites.choose_suite(None, dataset)
    tasks = suites.choose_tasks(task, chosen.datasets)
    if len(tasks) != 1:
        raise UserError(f"--task is '{task}'; a folder of pictures belongs to one task.")
    model = load_target(FOLDER_ADAPTER)(images, name=name, task=tasks[0])
    spec = RunSpec(
        suite=chosen.name,
        datasets=chosen.datasets,
        tasks=tasks,
        models=(name,),
        limit=limit,
        device=device,
    )
    entry = plan.ModelEntry(label=name, model=model)
    ready = plan.make_plan(spec, resolve_device(device), [entry])
    check_pictures(images, ready.tasks[0])
    carry_out(ready, out)
