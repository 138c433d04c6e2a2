"""Products with a weight matrix, alone or added to a running sum. R rows, M inputs, N outputs."""

from __future__ import annotations

from typing import Protocol

import torch.nn.functional as F
from torch import Tensor

from models.editar.precision import WeightType, quantize


class Product(Protocol):
    """A weight matrix, ready to be multiplied with."""

    def __call__(self, x_RM: Tensor) -> Tensor:
        """X Wᵀ, over the last axis."""

    def onto(self, total_RN: Tensor, x_RM: Tensor) -> Tensor:
        """Add x Wᵀ to a sum, in place."""


class Plain:
    """A matrix in the model's own type."""

    __slots__ = ("transposed_MN",)

    def __init__(self, transposed_MN: Tensor) -> None:
        self.transposed_MN = transposed_MN

    def __call__(self, x_RM: Tensor) -> Tensor:
        """X Wᵀ, over the last axis."""
        return x_RM @ self.transposed_MN

    def onto(self, total_RN: Tensor, x_RM: Tensor) -> Tensor:
        """Add x Wᵀ to a sum, in place."""
        return total_RN.addmm_(x_RM, self.transposed_MN)


def viewed(weight_NM: Tensor) -> Plain:
    """A matrix that stays the module's memory."""
    return Plain(weight_NM.T)


def copied(weight_NM: Tensor) -> Plain:
    """A copy in the order in which a CPU is a third faster with a few rows; it does not see the module change."""
    return Plain(weight_NM.T.contiguous())


def rounded(weight_NM: Tensor, kind: WeightType) -> Plain:
    """A matrix that went through few bits, for devices that do not read them."""
    return Plain(quantize(weight_NM, kind).dequantized(weight_NM.dtype).T)


def gated(gate_RF: Tensor, up_RF: Tensor) -> Tensor:
    """SwiGLU's silu(gate) · up; the gate's memory takes the result."""
    return F.silu(gate_RF, inplace=True).mul_(up_RF)
