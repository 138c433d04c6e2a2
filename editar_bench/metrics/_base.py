"""What the metrics here share: an info with a version, and one loop over samples.

Plugins need none of this; the contract is in `editar_bench.contracts`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from editar_bench.contracts import MetricInfo
from editar_bench.evaluators.judges import Judges, shared_judges
from editar_bench.types import Example, Picture, Score, Task

EDIT = frozenset({Task.EDIT})
EVERY_TASK = frozenset(Task)


class Undefined(Exception):
    """A metric has no value for a sample; the message is the reason."""


class Judged:
    """A metric that reads evaluators (`NEEDS`, as `Judges.setup` names them; may be none)."""

    INFO: ClassVar[MetricInfo]
    NEEDS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, judges: Judges | None = None) -> None:
        self.judges = judges or shared_judges()
        self.info = self.INFO
        if self.NEEDS:  # retrained evaluators make another version of the metric
            version = 1000 * self.INFO.version + self.judges.generation(*self.NEEDS)
            self.info = replace(self.INFO, version=version)

    def setup(self, device: str) -> None:
        """Load the evaluators."""
        self.judges.setup(device, *self.NEEDS)


class PerSample(Judged):
    """A `SampleMetric`: subclasses give the value of one sample, or raise `Undefined`."""

    def score(self, examples: Sequence[Example], images: Sequence[Picture]) -> list[Score]:
        """One Score per example, in order."""
        self.prefetch(examples, images)
        return [self._score(e, image) for e, image in zip(examples, images, strict=True)]

    def prefetch(self, examples: Sequence[Example], images: Sequence[Picture]) -> None:
        """Read a whole batch with the evaluators, so that `value` finds it in the store."""

    def value(self, example: Example, image: Picture) -> float:
        """The value of one sample."""
        raise NotImplementedError

    def _score(self, example: Example, image: Picture) -> Score:
        info = self.info
        try:
            value = defined(float(self.value(example, image)))
        except Undefined as reason:
            return Score(metric=info.name, protocol=info.protocol, value=None, reason=str(reason))
        return Score(metric=info.name, protocol=info.protocol, value=value)


def defined(value: float) -> float:
    """The value itself; raises `Undefined` where it is no number, which no mean survives."""
    if not math.isfinite(value):
        raise Undefined(f"the value is {value}")
    return value


def value_or_nan(
    value: Callable[[Example, Picture], float], example: Example, image: Picture
) -> float:
    """The value of one sample as set-level metrics keep it: NaN where it is undefined."""
    with suppress(Undefined):
        return value(example, image)
    return math.nan


def target(example: Example) -> Picture:
    """The true picture."""
    if example.target is None:
        raise Undefined("the data has no true picture for this sample")
    return example.target


def truth_map(example: Example, name: str) -> NDArray[np.generic]:
    """A native truth map (H, W)."""
    if name not in example.truth:
        raise Undefined(f"the data has no {name} map for this sample")
    return example.truth[name]


def outside(example: Example) -> NDArray[np.bool_]:
    """Pixels that the edit must leave alone, bool (H, W)."""
    if example.edit_mask is None:
        raise Undefined("the edit may change the whole picture; nothing is outside")
    if example.edit_mask.all():
        raise Undefined("the edit mask covers the whole picture; nothing is outside")
    return ~example.edit_mask


def inside(example: Example) -> NDArray[np.bool_]:
    """Pixels that the edit may change, bool (H, W): all of them where the edit has no outside."""
    if example.edit_mask is None:
        return np.ones(example.condition.shape[:2], dtype=bool)
    if not example.edit_mask.any():
        raise Undefined("the edit mask is empty")
    return example.edit_mask


def blacken(picture: Picture, keep: NDArray[np.bool_]) -> Picture:
    """The picture times a mask: black where `keep` is False, as PIE-Bench masks pictures."""
    return picture * keep[..., None].astype(np.uint8)
