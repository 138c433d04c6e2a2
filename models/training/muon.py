"""Muon (Keller Jordan et al., 2024): momentum whose update is made orthogonal, for the matrices inside a network.

All directions of a matrix then learn at the same pace, which on these small networks is worth several times the steps:
after 3 minutes on one core the unquantized codec stood at 20.2 dB on objects with it and at 16.3 dB with AdamW.
Legend: K matrices of one shape, R rows, C columns.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
_ITERATIONS = 5
# Of the published iteration: steep at zero, near 1 from there on.
_QUINTIC = (3.4445, -4.7750, 2.0315)
_FEWEST = 16  # channels on either side; narrower layers are the network's inputs and outputs
_READ_OUT = 4  # times as many rows as columns: more are a read-out over a vocabulary


def hidden_matrices(module: nn.Module) -> list[nn.Parameter]:
    """The weights that Muon is made for: linear and convolutional layers but for inputs and read-outs."""
    weights: list[nn.Parameter] = []
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            weights.append(layer.weight)
        elif isinstance(layer, nn.MultiheadAttention) and layer.in_proj_weight is not None:
            weights.append(layer.in_proj_weight)
    return [w for w in weights if w.requires_grad and _is_hidden(w)]


def _is_hidden(weight: Tensor) -> bool:
    rows, columns = weight.shape[:2]
    return bool(min(rows, columns) >= _FEWEST and rows <= _READ_OUT * columns)


class Muon(torch.optim.Optimizer):
    """Takes matrices and convolution kernels (flattened to output channels × the rest)."""

    def __init__(self, params: Iterable[Tensor], lr: float, dtype: torch.dtype) -> None:
        """`dtype` is what the orthogonalization computes in; bfloat16 is enough."""
        super().__init__(params, {"lr": lr})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Move every parameter with a gradient by its learning rate times an orthogonal matrix."""
        for group in self.param_groups:
            alike = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike[parameter.flatten(1).shape].append(parameter)
            for (rows, columns), parameters in alike.items():
                momenta_KRC = torch.stack([self._momentum(p) for p in parameters])
                # A tall matrix moves its outputs by less than a wide one unless it is scaled up.
                length = group["lr"] * max(1.0, rows / columns) ** 0.5
                for parameter, update_RC in zip(
                    parameters, orthogonal(momenta_KRC.to(self.dtype)), strict=True
                ):
                    parameter.sub_(update_RC.view_as(parameter).to(parameter), alpha=length)

    def _momentum(self, parameter: Tensor) -> Tensor:
        """Nesterov momentum of a gradient, (R, C)."""
        assert parameter.grad is not None
        gradient_RC = parameter.grad.flatten(1)
        state = self.state[parameter]
        if "average" not in state:
            state["average"] = torch.zeros_like(gradient_RC)
        state["average"].lerp_(gradient_RC, 1 - MOMENTUM)
        return gradient_RC.lerp(state["average"], MOMENTUM)


def orthogonal(x_KRC: Tensor) -> Tensor:
    """About U Vᵀ of each matrix's singular value decomposition U S Vᵀ: singular values come out in 0.7 ... 1.2.

    The signs and order of nothing change; matrices of zeros stay zeros.
    """
    if x_KRC.shape[1] > x_KRC.shape[2]:
        return orthogonal(x_KRC.mT).mT
    x_KRC = x_KRC / x_KRC.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    a, b, c = _QUINTIC
    for _ in range(_ITERATIONS):
        gram_KRR = x_KRC @ x_KRC.mT
        x_KRC = a * x_KRC + (b * gram_KRR + c * gram_KRR @ gram_KRR) @ x_KRC
    return x_KRC
