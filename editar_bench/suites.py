"""Which data sets and models a suite brings together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from editar_bench.errors import UserError
from editar_bench.registry import MODELS, TASKS, load_target, near_matches
from editar_bench.types import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A named choice: one data set a task, and the models that run when none is named."""

    name: str
    dataset: str
    models: tuple[str, ...]
    summary: str
    folders: Mapping[str, str] = field(default_factory=dict)  # of an offline bundle: name -> target

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
        dataset="scenes",
        models=(
            "editar-scenes",
            "instruct-pix2pix-scenes",
            "oracle",
            "codec",
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
            "codec-multiscale",
    ),
}


def datasets() -> list[str]:
    """Every data set that some registered task reads, in the order of the task table."""
    return list(dict.fromkeys(key.partition("/")[2] for key in TASKS.names()))


def choose_suite(suite: str | None, dataset: str | None) -> Suite:
    """The suite that the options mean; a data set of no suite becomes a suite of its own with every model."""
    if dataset is not None:
        if dataset not in datasets():
            raise UserError(
                f"There is no data set '{dataset}'; {near_matches(dataset, datasets())}"
            )
        for known in SUITES.values():
            if known.dataset == dataset and suite in (None, known.name):
                return known
        if suite is None:
            everything = tuple(MODELS.names())
            return Suite(
                name=dataset, dataset=dataset, models=everything, summary="a data set of no suite"
            )
        raise UserError(
            f"Data set '{dataset}' is no part of the suite '{suite}'; give one of the two."
        )
    name = suite or "scenes"
    if name not in SUITES:
        raise UserError(f"There is no suite '{name}'; {near_matches(name, SUITES)}")
    return SUITES[name]


def choose_tasks(text: str, dataset: str) -> tuple[Task, ...]:
    """Read `--task`: a comma list, or `all` for every task that the data set offers."""
    offered = [task for task in Task if f"{task}/{dataset}" in TASKS.entries()]
    if text == "all":
        return tuple(offered)
    chosen = []
    for name in filter(None, (part.strip() for part in text.split(","))):
        if name not in [*Task]:
            raise UserError(f"There is no task '{name}'; {near_matches(name, [*Task, 'all'])}")
        if name not in offered:
            raise UserError(
                f"Task '{name}' has no data set '{dataset}'; "
                f"this data set offers {', '.join(offered) or 'no task'}."
            )
        chosen.append(Task(name))
    if not chosen:
        raise UserError("--task is empty; name tasks or write --task all.")
    return tuple(dict.fromkeys(chosen))
