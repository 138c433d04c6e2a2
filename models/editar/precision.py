"""Fewer bits than the model's own for what sampling reads at every step: weights and the cache of keys and values.

Weights: one symmetric scale an output channel; numbers are int8 or float8 (e4m3), products are computed in the model's
own type. Cache: float8 with one scale a picture and head for keys and one for values, taken from the condition with
room above it. What a device cannot read in that form, it reads rounded to it: the same numbers, without the gain.

N outputs, M inputs, B pictures, H heads, L slots, K head width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from editar_bench.errors import UserError

WeightType = Literal["full", "int8", "fp8"]
CacheType = Literal["full", "fp8"]

FLOAT8 = torch.float8_e4m3fn
FLOAT8_CAPABILITY = (8, 9)
_LARGEST = {torch.int8: 127.0, FLOAT8: 448.0}
_ROOM = 2.0  # keys and values of later codes may be larger than the condition's


@dataclass(frozen=True, slots=True)
class Precision:
    """How weights and cache are kept while sampling; by default as the model has them."""

    weights: WeightType = "full"
    cache: CacheType = "full"


def check_device(precision: Precision, device: torch.device) -> None:
    """Refuse float8 on a GPU that has none.

    Raises:
        UserError: saying what to do.
    """
    if device.type != "cuda" or "fp8" not in (precision.weights, precision.cache):
        return
    capability = torch.cuda.get_device_capability(device)
    if capability < FLOAT8_CAPABILITY:
        raise UserError(
            f"fp8 needs a GPU of compute capability {'.'.join(map(str, FLOAT8_CAPABILITY))}, and "
            f"{device} has {'.'.join(map(str, capability))}; use weight_type=int8 and cache_type=full"
        )


class NarrowMatrix(NamedTuple):
    """A weight matrix in few bits."""

    values_NM: Tensor  # int8 or float8
    scales_N: Tensor  # float32; of the model's type where they multiply

    def dequantized(self, dtype: torch.dtype) -> Tensor:
        """The matrix it stands for."""
        return (self.values_NM.float() * self.scales_N[:, None]).to(dtype)


def quantize(weight_NM: Tensor, kind: WeightType) -> NarrowMatrix:
    """Round a weight matrix, each row in units of its own largest entry."""
    dtype = torch.int8 if kind == "int8" else FLOAT8
    wide_NM = weight_NM.detach().float()
    scales_N1 = wide_NM.abs().amax(1, keepdim=True).clamp(min=1e-12) / _LARGEST[dtype]
    scaled_NM = wide_NM / scales_N1
    values_NM = (scaled_NM.round() if dtype == torch.int8 else scaled_NM).to(dtype)
    return NarrowMatrix(values_NM, scales_N1.squeeze(1))


def cache_scale(x_BHLK: Tensor) -> Tensor:
    """The unit in which one picture's and head's keys, or values, are kept: float32 (B, H)."""
    return x_BHLK.float().abs().amax((2, 3)).clamp(min=1e-6) * (_ROOM / _LARGEST[FLOAT8])


def to_float8(x: Tensor, scale: Tensor) -> Tensor:
    """In units of a scale that broadcasts; what is too large becomes the largest."""
    largest = _LARGEST[FLOAT8]
    return (x.float() / scale).clamp(-largest, largest).to(FLOAT8)


def rounded_to_float8(x: Tensor, scale: Tensor) -> Tensor:
    """The same numbers in the type of x."""
    return (to_float8(x, scale).float() * scale).to(x.dtype)
