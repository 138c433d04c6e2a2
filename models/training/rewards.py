"""How good a finished picture is, as a function that has a gradient.

The reader of `reader_recipe` says what a picture shows; edits are also compared with their true picture.
Legend: B pictures, C channels, H × W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_prep.scenes.masks import TOLERANCE
from editar_bench.types import Task
from models.training.bank import Bank
from models.training.data import rgb
from models.training.reader_recipe import SHARES, Reader, of_objects, truth_of

# What each task asks for, in units in which its parts matter about alike.
WEIGHTS: Mapping[Task, Mapping[str, float]] = {
    Task.EDIT: {"inside": 4.0, "outside": 4.0, "label": 0.7, "color": 0.7, "material": 0.3},
    Task.DEPTH: {"depth": 8.0, "normal": 0.4, "label": 0.4, "color": 0.1},
    Task.EDGE: {"label": 0.5, "color": 0.2},
    Task.SEGMENTATION: {"label": 1.5, "normal": 0.2, "color": 0.2},
}
_GROUND = 0.3  # weight of sky and ground, where an object has 1 more


@dataclass(frozen=True, slots=True)
class Truth:
    """What the bank knows of some pictures."""

    read: Mapping[str, Tensor]  # `truth_of`
    rgb_B3HW: Tensor
    changed_BHW: Tensor  # float: 1 where an edit changed the picture, nowhere in source pictures

    @classmethod
    def of(cls, bank: Bank, rows: NDArray[np.int64], device: str) -> Truth:
        """Of the pictures of these rows."""
        target, source = rgb(bank, rows), rgb(bank, rows - rows % 2)
        changed = (target - source).abs().amax(1) > (TOLERANCE + 0.5) / 127.5
        read = {name: x_BCHW.to(device) for name, x_BCHW in truth_of(bank, rows).items()}
        return cls(read, target.to(device), changed.float().to(device))


def reward(reader: Reader, images_B3HW: Tensor, truth: Truth, tasks: Sequence[Task]) -> Tensor:
    """What pictures in [-1, 1] are worth, each for its task: (B,), more is better."""
    parts = reward_parts(reader, images_B3HW, truth)
    of_task = {
        task: torch.stack([weight * parts[name] for name, weight in weights.items()]).sum(0)
        for task, weights in WEIGHTS.items()
    }
    return torch.stack([of_task[task][index] for index, task in enumerate(tasks)])


def reward_parts(reader: Reader, images_B3HW: Tensor, truth: Truth) -> dict[str, Tensor]:
    """The parts, each (B,).

    "label", "color" and "material": expected share of what is read right, of color and material on objects alone.
    "depth" and "normal": minus the mean error of inverse depth, and squared error of the normal. "inside" and
    "outside": minus the mean squared error where the edit changes the picture, and elsewhere.
    """
    shown = images_B3HW.contiguous(memory_format=torch.channels_last)
    read = {name: x_BCHW.float() for name, x_BCHW in reader(shown).items()}
    objects_B1HW = of_objects(truth.read)
    weight_B1HW = _GROUND + objects_B1HW

    def mean(x: Tensor) -> Tensor:
        return x.flatten(1).mean(1)

    parts = {
        name: mean(
            (read[name].softmax(1) * truth.read[name]).sum(1, keepdim=True)
            * (weight_B1HW if name == "label" else objects_B1HW)
        )
        for name in SHARES
    }
    normal_B1HW = (read["normal"] - truth.read["normal"]).square().sum(1, keepdim=True)
    error_BHW = (images_B3HW - truth.rgb_B3HW).square().mean(1)
    return parts | {
        "depth": -mean((read["depth"] - truth.read["depth"]).abs() * weight_B1HW),
        "normal": -mean(normal_B1HW * weight_B1HW),
        "inside": -_mean_where(truth.changed_BHW, error_BHW),
        "outside": -_mean_where(1 - truth.changed_BHW, error_BHW),
    }


def _mean_where(where_BHW: Tensor, x_BHW: Tensor) -> Tensor:
    """(B,); 0 where there is no such pixel."""
    return (where_BHW * x_BHW).sum((1, 2)) / where_BHW.sum((1, 2)).clamp(min=1)
