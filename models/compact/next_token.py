"""What next-token models share when they sample: a cache of keys and values, and the loop over the codes.

B pictures, G guidance halves (conditional, then null text; 1 without guidance), R = B·G rows, L new positions, E
positions so far, H heads, K head width, D width, N codes a picture, V codebook.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from models.editar.choosing import SamplerSettings, choose, guide
from models.editar.transformer import Attention


class Cache:
    """Keys and values of one attention, for positions that are read one after another."""

    def __init__(self, attention: Attention, rows: int, length: int) -> None:
        like = attention.wo.weight
        shape = (rows, attention.n_head, length, attention.head_dim)
        self.keys_RHEK, self.values_RHEK = like.new_empty(shape), like.new_empty(shape)
        self.attention, self.filled = attention, 0

    def attend(self, x_RLD: Tensor, table_LP2: Tensor, seen_RE: Tensor | None = None) -> Tensor:
        """The attention's output (R, L, D) for the next L positions, which see themselves and all before them.

        Args:
            x_RLD: normalized input vectors.
            table_LP2: their rows of the rotary table.
            seen_RE: bool, which positions so far, the new ones included, may be seen at all.
        """
        q_RHLK, k_RHLK, v_RHLK = self.attention.project(x_RLD, table_LP2)
        start, end = self.filled, self.filled + x_RLD.shape[1]
        self.keys_RHEK[:, :, start:end], self.values_RHEK[:, :, start:end] = k_RHLK, v_RHLK
        self.filled = end
        mask_RHLE = None
        if end - start > 1 or seen_RE is not None:
            place_E = torch.arange(end, device=x_RLD.device)
            mask_RHLE = (place_E <= place_E[start:, None])[None, None]
        if mask_RHLE is not None and seen_RE is not None:
            # A position sees itself even if no other may see it: no division of zero by zero.
            itself_LE = place_E == place_E[start:, None]
            mask_RHLE = mask_RHLE & (seen_RE[:, None, None] | itself_LE)
        keys_RHEK, values_RHEK = self.keys_RHEK[:, :, :end], self.values_RHEK[:, :, :end]
        y_RHLK = F.scaled_dot_product_attention(q_RHLK, keys_RHEK, values_RHEK, mask_RHLE)
        return self.attention.merge(y_RHLK)


class Reader(Protocol):
    """A model that has read its conditions and takes one code a step, all pictures together."""

    def first(self) -> Tensor:
        """Logits (B, G, V) of the first code, float32."""

    def step(self, codes_B: Tensor, place: int) -> Tensor:
        """Read the code at `place` of every picture; logits (B, G, V) of the one that follows, float32."""


def sample_codes(
    reader: Reader, count: int, settings: SamplerSettings, uniforms_BN: Tensor
) -> Tensor:
    """Draw all codes of the pictures one by one, each by its own uniform number: int64 (B, N)."""
    uniforms_BN = uniforms_BN.double()
    logits_BGV = reader.first()
    codes: list[Tensor] = []
    while True:
        place = len(codes)
        uniform_B1 = uniforms_BN[:, place : place + 1].to(logits_BGV.device)
        codes.append(choose(guide(logits_BGV, settings.guidance), settings, uniform_B1))
        if len(codes) == count:
            return torch.stack(codes, 1)
        logits_BGV = reader.step(codes[-1], place)
