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
    """A matrix in the model's own type: the module's memory, never a copy."""

    __slots__ = ("transposed_MN", "weight_NM")

    def __init__(self, weight_NM: Tensor) -> None:
        self.weight_NM, self.transposed_MN = weight_NM, weight_NM.T

    def __call__(self, x_RM: Tensor) -> Tensor:
        """X Wᵀ, over the last axis."""
        return F.linear(x_RM, self.weight_NM)

    def onto(self, total_RN: Tensor, x_RM: Tensor) -> Tensor:
        """Add x Wᵀ to a sum, in place."""
        return total_RN.addmm_(x_RM, self.transposed_MN)


def rounded(weight_NM: Tensor, kind: WeightType) -> Plain:
    """A matrix that went through few bits, for devices that do not read them."""
    return Plain(quantize(weight_NM, kind).dequantized(weight_NM.dtype))


def gated(gate_RF: Tensor, up_RF: Tensor) -> Tensor:
    """SwiGLU's silu(gate) · up; the gate's memory takes the result."""
    return F.silu(gate_RF, inplace=True).mul_(up_RF)
