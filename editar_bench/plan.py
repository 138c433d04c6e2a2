"""What a run is going to do: tasks loaded, models built, metrics looked up. Failures of models become records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from editar_bench import parts
from editar_bench.contracts import Metric, Model, TaskModule
from editar_bench.cost import COST
from editar_bench.errors import BadSettings, MissingWeights, UserError
from editar_bench.model_names import ModelRef, create_model
from editar_bench.registry import METRICS, TASKS
from editar_bench.suites import task_keys
from editar_bench.types import How, RunSpec, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """A model of the plan; without `model` it could not be built, for the `reason`."""

    label: str
    model: Model | None
    reason: str = ""
    missing: bool = False  # its weights are not there

    @property
    def key(self) -> str:
        """The identity that decides whether stored pictures may be used again."""
        if self.model is None:
            return ""
        model = self.model
        return parts.model_key(model.name, model.settings, model.fingerprint)

    @property
    def kind(self) -> str:
        """`measured` or `reference`."""
        return self.model.kind if self.model else "measured"

    @property
    def ceiling(self) -> str:
        """The reference row that bounds this model: the truth through its decoder."""
        return str(getattr(self.model, "ceiling", "codec"))

    def fits(self, other: ModelEntry) -> bool:
        """Whether every weights file that both have is the same one."""
        mine, others = (entry.model.fingerprint if entry.model else {} for entry in (self, other))
        return all(mine[path] == others[path] for path in mine.keys() & others.keys())

    def refusal(self, entry: TaskEntry) -> tuple[str, str] | None:
        """Status and reason when the model will make no picture for this task and its data."""
        if self.model is None:
            return "failed", self.reason
        capability = self.model.capabilities.get(entry.task)
        if capability is None:
            return "unsupported", f"{self.label} does not say that it can do {entry.task}"
        if capability.how is How.NO:
            return "unsupported", capability.reason
        if getattr(self.model, "needs_truth", False) and not entry.has_truth:
            return "unsupported", "the data set has no true pictures"
        return None

    def describe(self) -> dict[str, Any]:
        """The part of the provenance that is about this model."""
        if self.model is None:
            return {"reason": self.reason}
        training = getattr(self.model, "training", None)
        return {
            "settings": dict(self.model.settings),
            "weights": dict(self.model.fingerprint),
            **({"training": dict(training)} if training else {}),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEntry:
    """A task of the plan with its data."""

    task: Task
    title: str  # the task; with its data set where the run has several
    module: TaskModule
    fingerprint: str
    length: int  # of the whole split
    wanted: int  # the first so many samples are part of this run
    metrics: Mapping[str, Metric]
    has_truth: bool = True  # samples come with true pictures
    remarks: tuple[str, ...] = ()  # what readers of the results must know of the data

    @property
    def key(self) -> str:
        """The registry name."""
        return f"{self.task}/{self.module.dataset}"

    @property
    def infos(self) -> list[Any]:
        """What is reported: the metrics in the task's order, then the cost."""
        return [metric.info for metric in self.metrics.values()] + list(COST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run, ready to begin."""

    spec: RunSpec
    device: str
    tasks: Sequence[TaskEntry]
    models: Sequence[ModelEntry]


def load_task(spec: RunSpec, key: str) -> TaskEntry:
    """Open the data of a task, by its registry name, and build its metrics (their networks are loaded later)."""
    module = TASKS.get(key)()
    examples = module.load()
    length = len(examples)
    metrics = {name: METRICS.get(name)() for name in metric_names(module)}
    return TaskEntry(
        task=module.task,
        title=str(module.task) if len(spec.datasets) == 1 else key,
        module=module,
        fingerprint=module.fingerprint(),
        length=length,
        wanted=length if spec.limit is None else min(spec.limit, length),
        metrics=metrics,
        has_truth=not length or examples[0].target is not None,
        remarks=data_remarks(module),
    )


def metric_names(module: TaskModule) -> list[str]:
    """The registry names of a task's metrics, without the cost, which every task has."""
    return [name for name in module.metrics if name not in _COST_NAMES]


def data_remarks(module: TaskModule) -> tuple[str, ...]:
    """What a task says about its data on this machine; most say nothing."""
    return tuple(getattr(module, "remarks", tuple)())


MOST_REPEATS = 1000  # pictures a sample
_COST_NAMES = frozenset(info.name for info in COST)


def build_models(refs: Sequence[ModelRef]) -> list[ModelEntry]:
    """Build every model; one that cannot be built is kept with the reason.

    Raises:
        BadSettings: a name was mistyped; a row of results would outlive the mistake.
    """
    built: dict[str, ModelEntry] = {}
    for ref in refs:
        try:
            label, model = create_model(ref)
            entry = ModelEntry(label=label, model=model)
        except UserError as error:
            if isinstance(error, BadSettings) and ref.settings:
                raise
            missing = isinstance(error, MissingWeights)
            entry = ModelEntry(label=ref.label, model=None, reason=str(error), missing=missing)
        built.setdefault(entry.label, entry)
    return list(built.values())


def check_repeats(repeats: int) -> None:
    """Refuse numbers of pictures a sample that no run could make."""
    if not 1 <= repeats <= MOST_REPEATS:
        raise UserError(f"--repeats is {repeats}; it must be from 1 to {MOST_REPEATS}.")


def make_plan(spec: RunSpec, device: str, models: Sequence[ModelEntry]) -> Plan:
    """Load the tasks of a run.

    Raises:
        UserError: data or a metric is missing, or no sample is asked for.
    """
    if spec.limit is not None and spec.limit < 1:
        raise UserError(f"--limit is {spec.limit}; it must be at least 1.")
    check_repeats(spec.repeats)
    tasks = [load_task(spec, key) for key in task_keys(spec.tasks, spec.datasets)]
    return Plan(spec=spec, device=device, tasks=tasks, models=models)
