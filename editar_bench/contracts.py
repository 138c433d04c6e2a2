"""What a model, a task and a metric must offer. Plugins implement these by shape; nothing is inherited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from editar_bench.types import Capability, Example, Generation, Picture, Score, Settings, Task

Direction = Literal["higher", "lower"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What the runner hands to a model before the first batch.

    `examples` is the *whole* split, whatever the limit: `shuffled` draws its derangement from it.
    """

    device: str
    examples: Sequence[Example]


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What a model needs of its device's memory, in bytes."""

    loaded: int  # weights, and work that does not grow with the batch
    picture: int  # more for each picture of a batch
    largest: int  # pictures; a larger batch gains no speed


class Model(Protocol):
    """A system under test, or a reference row.

    `fingerprint` maps each weights file to its sha256: together with `name` and `settings` it decides whether a
    stored picture may be used again. A model whose decoder is not the codec of the suite says in an attribute
    `ceiling` which reference row is its decoder's; without one it is `codec`. `needs_truth` marks rows that cannot be
    made without a true picture, and on the factory `download_size` says how many bytes its weights have. What
    its training cost may stand in an attribute `training`: parameters, samples, flops, minutes, hardware and seeds.
    A model may offer `footprint(device) -> Footprint`: where nobody asks for a batch size, it is then fitted to the
    free memory. For `--engine ray` it must pickle until it is set up, and so must a task and a metric.
    """

    name: str
    kind: Literal["measured", "reference"]
    capabilities: Mapping[Task, Capability]
    settings: Settings
    fingerprint: Mapping[str, str]
    batch_size: int

    def setup(self, context: Context) -> None:
        """Load weights onto the device. Called once per task, before the first batch, in each process that works."""

    def generate(self, batch: Sequence[Example], seeds: Sequence[int]) -> list[Generation]:
        """Make one picture per example, of the size of its condition; seed i alone decides picture i's randomness."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Something that a run needs and this machine does not have."""

    what: str  # such as "data multigen-depth"
    how: str  # the command that gets it, or where it is asked for
    size: int | None = None  # bytes to fetch, about; None where nobody knows


class TaskModule(Protocol):
    """One task on one data set: the data, and which metrics speak about it.

    It may also offer `remarks() -> Sequence[str]`: sentences about the data on this machine that are stored with the
    run and shown beside its results; `missing() -> Sequence[Missing]`: what `load` would not find, which a metric may
    offer as well; and `fetch(advance)`: get that from where it is published, telling `advance` the bytes that are here.
    What `load` gives may offer `groups()`: category and slices of every sample, without decoding a picture. With
    `any_size` set, pictures need not have the size of their conditions.
    """

    task: Task
    dataset: str
    metrics: Sequence[str]  # registry names, in the order of the report

    def load(self) -> Sequence[Example]:
        """The whole test split in its fixed order; examples are decoded when indexed."""

    def fingerprint(self) -> str:
        """A hash of the data, stored with every run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricInfo:
    """How the leaderboard must read a metric."""

    name: str
    protocol: str
    unit: str
    direction: Direction
    version: int
    tasks: frozenset[Task]
    gap: Literal["shuffled", "copy-source", "none"] = (
        "none"  # the floor that `gap_closed` starts from
    )
    set_level: bool = False
    description: str = ""


class SampleMetric(Protocol):
    """A metric with one value a sample; the reported number is the mean of the defined values.

    Any metric may offer `keep_features(folder)`: where what it finds in pictures can be kept for other runs.
    """

    info: MetricInfo

    def setup(self, device: str) -> None:
        """Load what the metric needs."""

    def score(self, examples: Sequence[Example], images: Sequence[Picture]) -> list[Score]:
        """One Score per example, in order; undefined values carry a reason and are counted, not averaged."""


class SetMetric(Protocol):
    """A metric of a whole set (distances between distributions, pooled mIoU).

    `observe` turns a batch into one small array per sample (a feature vector, a confusion matrix), which the runner
    stores; `reduce` turns any subset of them into the value, so that slices and bootstrap intervals are the same code.

    A distance between sets needs another interval (`editar_bench.statistics` says why) and offers
    `influence(observations) -> (N,)`: how fast the value rises with each observation's weight. A protocol that wants so
    many pictures of a sample, all with values, offers `counted(observations) -> bool (N,)`: those of whole samples.
    """

    info: MetricInfo

    def setup(self, device: str) -> None:
        """Load what the metric needs."""

    def observe(self, examples: Sequence[Example], images: Sequence[Picture]) -> list[NDArray[Any]]:
        """One array per sample, all of one shape."""

    def reduce(self, observations: NDArray[Any]) -> float | None:
        """The value of the set (observations stacked on axis 0); None where it is undefined."""


Metric = SampleMetric | SetMetric


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A value with its percentile bootstrap interval over samples."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    values: NDArray[np.float64] | None = field(default=None, repr=False)
