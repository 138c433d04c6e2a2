"""What a step runs on: one device as it is, or several through accelerate (data parallel or sharded).

The trainer is the same for all; what differs is how gradients, figures and states of several processes become one.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

Optimizers = list[torch.optim.Optimizer]
Loss = Callable[[nn.Module], tuple[Tensor, dict[str, float]]]


class OneDevice:
    """This process alone, on one device.

    Args:
        device: "cpu", "cuda" or one of several.
        bf16: whether forward passes run in bfloat16 where that is safe.
        parts: micro-batches whose gradients one step adds up.
    """

    main = True  # whether this process writes files and shows progress
    processes = 1

    def __init__(self, device: str, bf16: bool, parts: int = 1) -> None:
        self.device, self.bf16, self.parts = device, bf16, parts

    def prepare(self, module: nn.Module, optimizers: Optimizers) -> tuple[nn.Module, Optimizers]:
        """Module and optimizers as they are trained."""
        return module, optimizers

    def gradients(self, module: nn.Module, loss_of: Loss) -> dict[str, float]:
        """Forward and backward pass of a step; returns the mean of what the losses say, over all processes."""
        figures: dict[str, float] = {}
        kind = torch.device(self.device).type
        for part in range(self.parts):
            with self._apart(module) if part + 1 < self.parts else nullcontext():
                with torch.autocast(kind, torch.bfloat16, enabled=self.bf16):
                    loss, said = loss_of(module)
                (loss / self.parts).backward()
            for name, value in {"loss": float(loss.detach()), **said}.items():
                figures[name] = figures.get(name, 0.0) + value / self.parts
        return self._mean(figures)

    def clip(self, module: nn.Module, norm: float) -> float:
        """Shorten the gradient to a norm; returns the one that it had."""
        return float(nn.utils.clip_grad_norm_(module.parameters(), norm))

    def state(self, module: nn.Module, optimizers: Optimizers) -> dict[str, Any]:
        """What a checkpoint says of weights and optimizers; every process must ask, the main one gets it all."""
        return {
            "module": module.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        }

    def restore(self, module: nn.Module, optimizers: Optimizers, state: dict[str, Any]) -> None:
        """Take over what `state` said."""
        module.load_state_dict(state["module"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)

    def whole(self, module: nn.Module) -> nn.Module:
        """The module as the recipe built it, to be exported by the main process; every process must ask."""
        return module

    def gathered(self, value: Any) -> list[Any]:
        """A value of every process."""
        return [value]

    def wait(self) -> None:
        """Until every process is here."""

    def _apart(self, module: nn.Module) -> AbstractContextManager[Any]:
        """Gradients made inside stay in this process."""
        return nullcontext()

    def _mean(self, figures: dict[str, float]) -> dict[str, float]:
        return figures
