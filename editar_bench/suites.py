"""Which data sets and models a suite brings together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from editar_bench.errors import UserError
from editar_bench.registry import MODELS, TASKS, load_target, near_matches
from editar_bench.types import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A named choice: data sets, and the models that run when none is named.

    A task runs on every one of the data sets that offers it; those `on_request` only when they are named.
    """

    name: str
    datasets: tuple[str, ...]
    models: tuple[str, ...]
    summary: str
    on_request: tuple[str, ...] = ()
    # Of an offline bundle: name -> target. A folder of one data set alone has the data set's name.
    folders: Mapping[str, str] = field(default_factory=dict)

    def only(self, dataset: str) -> Suite:
        """The suite with one of its data sets."""
        others = {*self.datasets, *self.on_request} - {dataset}
        folders = {name: target for name, target in self.folders.items() if name not in others}
        return replace(self, datasets=(dataset,), on_request=(), folders=folders)

    def places(self) -> dict[str, Path]:
        """Where the suite's data and weights lie on this machine, by their names in a bundle.

        Raises:
            UserError: the suite has none, as a data set of no suite.
        """
        if not self.folders:
            raise UserError(f"'{self.name}' cannot be bundled; suites are: {', '.join(SUITES)}.")
        found = {name: load_target(target) for name, target in self.folders.items()}
        return {name: place() if callable(place) else place for name, place in found.items()}


SUITES = {
    "scenes": Suite(
        name="scenes",
        datasets=("scenes",),
        models=(
            "editar-scenes",
            "editar-common",
            "parti-scenes",
            "muse-scenes",
            "var-scenes",
            "llamagen-scenes",
            "stable-diffusion-scenes",
            "controlnet-scenes",
            "instruct-pix2pix-scenes",
            "oracle",
            "codec",
            "codec-multiscale",
            "codec-kl",
            "copy-source",
            "shuffled",
            "blank",
        ),
        summary="procedural scenes with exact truth; embedded, needs no network and no GPU",
        folders={
            "data": "tasks._scenes:data_folder",
            "weights": "models.weights_manifest:WEIGHTS",
            "evaluators": "editar_bench.evaluators.weights:DEFAULT_FOLDER",
        },
    ),
    "paper": Suite(
        name="paper",
        datasets=("pie-bench", "multigen-depth", "multigen-canny", "coco-stuff", "ade20k"),
        on_request=(
            "magicbrush-all-turns",
            "emu-edit",
            "multigen-hed",
            "multigen-lineart",
            "photos",
        ),
        models=(
            "editar",
            "controlnet",
            "controlnet-plus-plus",
            "instruct-pix2pix",
            "codec-released",
            "codec-sd",
            "oracle",
            "copy-source",
            "shuffled",
            "blank",
        ),
        summary="published data sets and protocols; needs their data, released weights and a GPU",
        folders={
            "pie-bench": "tasks.paper:PieBenchEdit.place",
            "multigen-depth": "tasks.paper:MultiGenDepth.place",
            "multigen-canny": "tasks.paper:MultiGenCanny.place",
            "coco-stuff": "tasks.paper:CocoStuff.place",
            "ade20k": "tasks.paper:Ade20k.place",
            "magicbrush-all-turns": "tasks.paper:MagicBrushEdit.place",
            "emu-edit": "tasks.paper:EmuEdit.place",
            "multigen-hed": "tasks.soft_edges:MultiGenHed.place",
            "multigen-lineart": "tasks.soft_edges:MultiGenLineart.place",
            "photos": "tasks.photos:PhotosCanny.place",
        },
    ),
}


def datasets() -> list[str]:
    """Every data set that some registered task reads, in the order of the task table."""
    return list(dict.fromkeys(key.partition("/")[2] for key in TASKS.names()))


def choose_suite(suite: str | None, dataset: str | None) -> Suite:
    """The suite that the options mean, with one data set where one is named.

    A data set of no suite becomes a suite of its own with every model.
    """
    if dataset is not None:
        if dataset not in datasets():
            raise UserError(
                f"There is no data set '{dataset}'; {near_matches(dataset, datasets())}"
            )
        for known in SUITES.values():
            if dataset in (*known.datasets, *known.on_request) and suite in (None, known.name):
                return known.only(dataset)
        if suite is None:
            everything = tuple(MODELS.names())
            return Suite(
                name=dataset,
                datasets=(dataset,),
                models=everything,
                summary="a data set of no suite",
            )
        raise UserError(
            f"Data set '{dataset}' is no part of the suite '{suite}'; give one of the two."
        )
    name = suite or "scenes"
    if name not in SUITES:
        raise UserError(f"There is no suite '{name}'; {near_matches(name, SUITES)}")
    return SUITES[name]


def task_keys(tasks: Sequence[Task], datasets: Sequence[str]) -> list[str]:
    """The registry names of all pairs of a task and a data set that offers it, task by task."""
    pairs = (f"{task}/{dataset}" for task in tasks for dataset in datasets)
    return [key for key in pairs if key in TASKS.entries()]


def choose_tasks(text: str, datasets: Sequence[str]) -> tuple[Task, ...]:
    """Read `--task`: a comma list, or `all` for every task that one of the data sets offers."""
    offered = [task for task in Task if task_keys([task], datasets)]
    names = [name for part in text.split(",") if (name := part.strip())]
    if "all" in names:
        return tuple(offered)
    chosen = []
    for name in names:
        if name not in [*Task]:
            raise UserError(f"There is no task '{name}'; {near_matches(name, [*Task, 'all'])}")
        if name not in offered:
            raise UserError(
                f"Task '{name}' is not offered by the data set {' or '.join(datasets)}; "
                f"on offer: {', '.join(offered) or 'no task'}."
            )
        chosen.append(Task(name))
    if not chosen:
        raise UserError("--task is empty; name tasks or write --task all.")
    return tuple(dict.fromkeys(chosen))
