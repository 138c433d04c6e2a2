"""Keys and values of one layer, and where the positions lie among them.

Slots: the condition codes, one text slot a half, then the target codes, each once a half. A slot is read by its own
half only, the condition by both, so one attention serves all.

B pictures, G guidance halves (text, then null text; 1 without guidance), W codes read at once, N codes a picture, L
cache slots, H heads, K head width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.editar.config import TransformerConfig
from models.editar.precision import FLOAT8, cache_scale, rounded_to_float8, to_float8


@dataclass(frozen=True, slots=True)
class Layout:
    """Which slot is whose."""

    before: int  # slots of the condition
    halves: int
    length: int

    @classmethod
    def of(cls, config: TransformerConfig, halves: int) -> Layout:
        """Text and all codes but the last, which is never read, once a half."""
        count = config.block_size
        return cls(before=count, halves=halves, length=count + halves * count)

    def filled(self, codes: int) -> int:
        """How many slots are in use after that many codes of every picture are read."""
        return self.before + self.halves * (1 + codes)

    def slots(self, places_BW: Tensor) -> Tensor:
        """Where codes read at given places of the target go: int64 (B, W, G)."""
        own_G = torch.arange(self.halves, device=places_BW.device)
        return self.filled(0) + self.halves * places_BW[..., None] + own_G


class LayerCache:
    """Room for the keys and values of one batch.

    With `eighth`, float8 is kept where the reader of this cache understands it (`native`), or else numbers that are
    rounded as if it were.
    """

    def __init__(
        self, shape_2BHLK: tuple[int, ...], like: Tensor, eighth: bool, native: bool
    ) -> None:
        dtype = FLOAT8 if eighth and native else like.dtype
        # Zeros, for what is not yet filled is multiplied by zero and must be finite.
        self.whole = torch.zeros(shape_2BHLK, dtype=dtype, device=like.device)
        self.whole_scales: Tensor | None = None
        if eighth:
            scales = torch.ones(shape_2BHLK[:3], dtype=torch.float32, device=like.device)
            self.whole_scales = scales
        self.narrow(shape_2BHLK[1])

    def narrow(self, pictures: int) -> None:
        """Use the room of the first so many pictures."""
        both = self.whole[:, :pictures]
        self.keys, self.values = both  # (B, H, L, K) each, contiguous
        self.stored = both.permute(1, 3, 0, 2, 4)  # as they are written: (B, L, 2, H, K)
        self.scales_2BH = None if self.whole_scales is None else self.whole_scales[:, :pictures]

    def move(self, source: int, target: int) -> None:
        """Give one picture the room of another, whose own is lost."""
        self.whole[:, target] = self.whole[:, source]
        if self.whole_scales is not None:
            self.whole_scales[:, target] = self.whole_scales[:, source]

    def begin(self, k_BHNK: Tensor, v_BHNK: Tensor) -> None:
        """Put in the condition, from the first slot on; it decides the scales."""
        if self.scales_2BH is not None:
            self.scales_2BH[0], self.scales_2BH[1] = cache_scale(k_BHNK), cache_scale(v_BHNK)
        end = k_BHNK.shape[2]
        self.keys[:, :, :end] = self._kept(k_BHNK, 0)
        self.values[:, :, :end] = self._kept(v_BHNK, 1)

    def put_text(self, start: int, mean_BHGK: Tensor) -> None:
        """Put in the mean values of the text; its keys are zero, as are those that were never written."""
        end = start + mean_BHGK.shape[2]
        self.values[:, :, start:end] = self._kept(mean_BHGK, 1)

    def write(self, at: tuple[Tensor, Tensor], kv_BQ2HK: Tensor) -> None:
        """Put in keys and values of the codes that are read, at (picture, slot)."""
        if self.scales_2BH is not None:
            scales_B12H1 = self.scales_2BH.transpose(0, 1)[:, None, :, :, None]
            kv_BQ2HK = rounded_to_float8(kv_BQ2HK, scales_B12H1)
        self.stored.index_put_(at, kv_BQ2HK)

    def _kept(self, x_BHLK: Tensor, which: int) -> Tensor:
        if self.scales_2BH is None:
            return x_BHLK
        scale = self.scales_2BH[which][:, :, None, None]
        round_ = to_float8 if self.keys.dtype == FLOAT8 else rounded_to_float8
        return round_(x_BHLK, scale)
