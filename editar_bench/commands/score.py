"""`editar-bench score`: pictures somebody already has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from editar_bench.commands import options

FOLDER_ADAPTER = "models.adapters.folder:FolderOfPictures"
LAYOUTS = "models.adapters.layouts:LAYOUTS"


def score(
    images: Annotated[Path, typer.Option(help="Folder of the pictures.")],
    task: Annotated[str, typer.Option(help="edit, depth, edge or segmentation.")],
    name: Annotated[str, typer.Option(help="The name of the model in the results.")],
    dataset: options.Dataset = None,
    layout: Annotated[
        str,
        typer.Option(
            help="How the pictures are called: plain, pnpinversion, controlnetpp, controlar or unicontrol."
        ),
    ] = "plain",
    repeats: Annotated[
        int, typer.Option(help="Pictures per sample, where the layout has several.")
    ] = 1,
    limit: options.Limit = None,
    device: options.Device = "auto",
    out: options.Out = options.DEFAULT_OUT,
) -> None:
    """Score finished pictures: one file `<sample id>.png` a sample, of the size of the condition.

    \b
    Examples:
      editar-bench score --images my-pictures --task edit --dataset scenes --name MY-MODEL
      editar-bench score --images output/ddim+p2p --layout pnpinversion --task edit --dataset pie-bench --name ddim+p2p
      editar-bench score --images EVAL_DIR --layout controlnetpp --repeats 4 --task depth
          --dataset multigen-depth --name MINE

    \b
    Other layouts are those of published scripts, NUMBER counts a data set's samples from 0:
      pnpinversion  PIE-Bench's own tree of jpg files; of strips the last square counts
      controlnetpp  images/group_REPEAT/NUMBER.png
      controlar     visualization/NUMBER.png, six digits
      unicontrol    samples/PROMPT-COUNT.png, five digits: NUMBER x repeats + REPEAT
    Uni-ControlNet, VAREdit, ControlVAR and CAR do not name pictures after samples: rename theirs as plain.

    MagicBrush and Emu Edit take pictures of any size: their metrics bring them to that of the reference.

    Missing pictures are counted as failed and named. An unreadable or wrongly sized one stops the command
    before anything is stored.
    """
    from functools import partial

    from editar_bench import plan, suites
    from editar_bench.commands.running import carry_out
    from editar_bench.devices import resolve_device
    from editar_bench.errors import UserError
    from editar_bench.folder import check_pictures
    from editar_bench.registry import MODELS, TASKS, load_target, near_matches
    from editar_bench.seeds import seed_of
    from editar_bench.types import RunSpec

    plan.check_repeats(repeats)
    if not name.strip() or not name.isprintable():
        raise UserError(f"--name is {name!r}; write a name that can be read in a table.")
    name = name.strip()
    if name.partition(":")[0] in MODELS.names():
        raise UserError(f"'{name}' is the name of a registered model; choose another --name.")
    layouts = load_target(LAYOUTS)
    if layout not in layouts:
        raise UserError(f"There is no layout '{layout}'; {near_matches(layout, layouts)}")
    chosen = suites.choose_suite(None, dataset)
    tasks = suites.choose_tasks(task, chosen.datasets)
    if len(tasks) != 1:
        raise UserError(f"--task is '{task}'; a folder of pictures belongs to one task.")
    spec = RunSpec(
        suite=chosen.name,
        datasets=chosen.datasets,
        tasks=tasks,
        models=(name,),
        limit=limit,
        repeats=repeats,
        device=device,
    )
    model = load_target(FOLDER_ADAPTER)(
        images,
        name=name,
        task=tasks[0],
        layout=layout,
        repeats=repeats,
        seed_of=partial(seed_of, spec.seed, tasks[0], chosen.datasets[0]),
        any_size=getattr(TASKS.get(f"{tasks[0]}/{chosen.datasets[0]}"), "any_size", False),
    )
    entry = plan.ModelEntry(label=name, model=model)
    ready = plan.make_plan(spec, resolve_device(device), [entry])
    check_pictures(model, ready.tasks[0], repeats)
    carry_out(ready, out)
