"""The records that travel between the rooms: what a task yields, what a model returns, what a metric says.

Pictures at these borders are always uint8 RGB arrays of shape (H, W, 3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]  # (H, W, 3), RGB
Settings = Mapping[str, Any]  # JSON values only: they are stored beside every result


class Task(StrEnum):
    """The four conditional generation tasks."""

    EDIT = "edit"
    DEPTH = "depth"
    EDGE = "edge"
    SEGMENTATION = "segmentation"


class How(StrEnum):
    """In what sense a model can do a task."""

    NATIVE = "native"  # trained for it
    ZERO_SHOT = "zero-shot"  # never trained for it, but its input allows it
    CONSTRUCTION = "by construction"  # a reference row that is right or wrong by definition
    NO = "no"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """How a model does one task, and, where it cannot, the reason shown to the reader."""

    how: How
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One sample of a task.

    `prompt` is the plain instruction (edit) or caption (the other tasks), without any model's template.
    `truth` holds the native ground truth where the data has it: "depth" (float32, H×W, meters, inf = sky),
    "label", "color" and "material" (uint8, H×W; for the edit task they describe the *edited* picture).
    `edit_mask` is bool H×W, True where the edit may change pixels; None where the edit has no outside.
    `blend_words` is the word of the source caption that the edit is about, and the one of the target caption.
    """

    id: str
    task: Task
    prompt: str
    condition: Picture
    source_caption: str | None = None
    target_caption: str | None = None
    blend_words: tuple[str, str] | None = None
    target: Picture | None = None
    edit_mask: NDArray[np.bool_] | None = None
    truth: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    category: str = ""  # edit type, or "" where the task has none
    slices: tuple[str, ...] = ()  # further groups that results are broken down by, such as "seen"


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One produced picture and what it cost."""

    image: Picture
    seconds: float  # wall time of the batch divided by the pictures in it
    peak_memory_bytes: int | None = (
        None  # of the device where it can be read, of the process otherwise
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A value of one metric for one sample; `value` is None when it is undefined, with the reason."""

    metric: str
    protocol: str
    value: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """Everything a person chose for a run; stored with the run.

    Its samples are those of every registered pair of one of the tasks and one of the data sets.
    """

    suite: str
    datasets: tuple[str, ...]
    tasks: tuple[Task, ...]
    models: tuple[str, ...]
    limit: int | None = None
    seed: int = 0
    repeats: int = 1
    engine: str = "local"
    parts: str = ""  # where workers leave pictures and parts; empty: the results folder
    device: str = "auto"
    batch_size: int | None = None  # None: the model's own preference
