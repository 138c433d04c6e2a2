"""What the trainer asks of a recipe, what it tells it, and what a run may spend."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from editar_bench.types import Picture


class Recipe(Protocol):
    """What to train: the network, its loss on the stream, how to judge it, where its files go."""

    name: str
    muon: bool  # whether Muon trains the hidden matrices; AdamW trains the rest
    learning_rate: float  # of AdamW
    batch_size: int
    settings: dict[str, Any]  # everything chosen or built upon, committed beside the weights

    def build(self) -> nn.Module:
        """The network, with all that is trained with it, freshly initialized."""

    def loss(
        self, module: nn.Module, clock: Clock, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Loss of one fresh batch, and the parts worth plotting."""

    def validate(self, module: nn.Module) -> dict[str, float]:
        """Figures on the validation split; called a dozen times a run."""

    def sheet(self, module: nn.Module) -> Picture | None:
        """A picture to look at."""

    def load(self, module: nn.Module, folder: Path) -> None:
        """Read shipped weights into a fresh network, to continue from them."""

    def export(self, module: nn.Module, folder: Path) -> None:
        """Write the shipped form: safetensors in half precision and the config."""


@runtime_checkable
class Streaming(Protocol):
    """A recipe that reads a stream, which cannot be drawn anew: it keeps its place, and says how reading goes."""

    flops_a_step: float  # known beforehand, since counting them would read on

    def places(self) -> Mapping[int, Any]:
        """Lane of the stream to where it stands, in plain values; other processes have other lanes."""

    def go_to(self, places: Mapping[int, Any]) -> None:
        """Read on from there; places of lanes that this process does not read are among them."""

    def skipped(self) -> Counter[str]:
        """How many samples of each source this process could not use."""

    def speed(self, seconds: float, processes: int) -> dict[str, float]:
        """What a step of so many seconds means in units of this recipe."""


@dataclass(slots=True)
class Clock:
    """Where a run stands: what this run has done so far, and the share of its budget that is spent.

    `pace` is the running mean of the seconds a step takes.
    """

    step: int = 0
    samples: int = 0
    seconds: float = 0.0
    flops: float = 0.0
    share: float = 0.0
    pace: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a run may spend: minutes, floating-point operations of forward and backward passes, or steps."""

    minutes: float = 0.0
    flops: float = 0.0
    steps: int = 0

    def __post_init__(self) -> None:
        """Exactly one of them says when to stop."""
        if [self.minutes > 0, self.flops > 0, self.steps > 0].count(True) != 1:
            raise ValueError("a budget is either minutes or flops or steps, and above 0")

    def share(self, clock: Clock) -> float:
        """How much of it is spent, 0 to 1 and a little beyond."""
        if self.steps:
            return clock.step / self.steps
        if self.flops:
            return clock.flops / self.flops
        return clock.seconds / (60 * self.minutes)
