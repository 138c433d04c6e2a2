"""Prompt-to-Prompt (Hertz et al. 2023, arXiv 2208.01626): the target is drawn with the source's attention.

Two rows run side by side, source and target. In the pass with text the target takes over the source's cross-attention
of every token that both captions have (section 3.2, refinement), for the first part of the steps, and its
self-attention below the highest resolution. When the data names the word that changes, its attention is doubled in the
target (re-weighting) and everything outside of where either caption's word is seen stays the source (local blend).
Constants: the scripts of PIE-Bench's protocol (github.com/cure-lab/PnPInversion), for every edit type.

The UNet's rows are: source and target without text, source and target with it. H heads, P positions, L tokens.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import isqrt
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from editar_bench.errors import UserError
from models.adapters.inversion.alignment import align, token_ids, word_positions
from models.adapters.inversion.attention import (
    ChangedProbabilities,
    SharedRows,
    attention_layers,
    processors,
)

EMPHASIS = 2.0  # of the target's changed word
_BLEND_FROM = 0.2  # of the steps: where the words are is not known before
_BLEND_LEVEL = 0.3  # of the highest attention
_SOURCE, _TARGET = 2, 3  # the rows with text
_TARGET_READS_SOURCE = (0, 1, _SOURCE, _SOURCE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Captions:
    """What of two captions stays.

    `kept_L` is 1 where the target's token stands in the source as well, at position `source_L`, and 0 where it is new;
    `emphasis_L` multiplies the target's attention; `words_2L` marks the tokens of the changed word in both captions,
    and with `blends`, where the data names such a word, the source stays wherever it is not seen: everywhere, as
    published, if it stands in neither.
    """

    source_L: Tensor
    kept_L: Tensor
    emphasis_L: Tensor
    words_2L: Tensor
    blends: bool = False


def compare(
    tokenizer: Any, source: str, target: str, words: tuple[str, str] | None = None
) -> Captions:
    """Align two captions; `words` are the changed word in the source and in the target, where the data has them."""
    length = tokenizer.model_max_length
    aligned = align(token_ids(tokenizer, source), token_ids(tokenizer, target), length)
    emphasis_L, words_2L = torch.ones(length), torch.zeros(2, length)
    if words is not None:
        for row, (caption, word) in enumerate(zip((source, target), words, strict=True)):
            words_2L[row, word_positions(tokenizer, caption, word)] = 1
        emphasis_L[words_2L[1] > 0] = EMPHASIS
    return Captions(
        source_L=torch.tensor([i or 0 for i in aligned]),
        kept_L=torch.tensor([float(i is not None) for i in aligned]),
        emphasis_L=emphasis_L,
        words_2L=words_2L,
        blends=words is not None,
    )


class PromptToPrompt:
    """The control of one picture's edit.

    Args:
        captions: the comparison of both captions.
        steps: of the sampler.
        latents_1Chw: for their size, type and device.
        cross_replace: the part of the steps that take over cross-attention.
        self_replace: the same for self-attention.
    """

    def __init__(
        self,
        captions: Captions,
        steps: int,
        latents_1Chw: Tensor,
        cross_replace: float,
        self_replace: float,
    ) -> None:
        device, dtype = latents_1Chw.device, latents_1Chw.dtype
        self.source_L = captions.source_L.to(device)
        self.kept_L = captions.kept_L.to(device, dtype)
        self.emphasis_L = captions.emphasis_L.to(device, dtype)
        self.positions = latents_1Chw.shape[-2] * latents_1Chw.shape[-1]
        self.cross_until = int(cross_replace * (steps + 1))  # one more than steps, as published
        self.self_until = int(self_replace * steps)
        self.step = 0
        self.blend: LocalBlend | None = None
        if captions.blends:
            self.blend = LocalBlend(captions.words_2L.to(device), int(_BLEND_FROM * steps))

    def attached(self, unet: Any) -> AbstractContextManager[None]:
        """The UNet's attention under this control."""
        shared = SharedRows(_TARGET_READS_SOURCE, ("query", "key"), self._replaces_self)
        changed: dict[str, Any] = {}
        for layer in attention_layers(unet):
            seen = layer.cross and not layer.name.startswith("mid")
            change = self._cross_and_see if seen else self._cross
            changed[layer.name] = ChangedProbabilities(change) if layer.cross else shared
        return processors(unet, changed)

    def before(self, step: int) -> None:
        """Remember the step."""
        self.step = step

    def after(self, step: int, latents_2Chw: Tensor) -> Tensor:
        """The latents, blended where the data names the changed word."""
        return self.blend.after(step, latents_2Chw) if self.blend else latents_2Chw

    def _replaces_self(self, positions: int) -> bool:
        return self.step < self.self_until and 4 * positions <= self.positions

    def _cross(self, probabilities_4HPL: Tensor) -> Tensor:
        if self.step >= self.cross_until:
            return probabilities_4HPL
        source, target = probabilities_4HPL[_SOURCE], probabilities_4HPL[_TARGET]
        moved = source[..., self.source_L] * self.kept_L + target * (1 - self.kept_L)
        return torch.cat([probabilities_4HPL[:_TARGET], (moved * self.emphasis_L)[None]])

    def _cross_and_see(self, probabilities_4HPL: Tensor) -> Tensor:
        changed = self._cross(probabilities_4HPL)
        if self.blend and 16 * changed.shape[2] == self.positions:
            self.blend.see(changed[_SOURCE:])
        return changed


class LocalBlend:
    """Where the changed word is seen, by the cross-attention of all steps so far at a quarter of the latents' side.

    Args:
        words_2L: the tokens of the word in the source and in the target.
        start: steps without blending.
    """

    def __init__(self, words_2L: Tensor, start: int) -> None:
        self.words_2L = words_2L
        self.start = start
        self.heat_2P: Tensor | None = None

    def see(self, probabilities_2HPL: Tensor) -> None:
        """Add a layer's attention to what was seen."""
        words_2L1 = self.words_2L[:, None, :, None]
        heat_2P = (probabilities_2HPL.float() @ words_2L1).squeeze(-1).sum(1)
        self.heat_2P = heat_2P if self.heat_2P is None else self.heat_2P + heat_2P

    def mask(self, height: int, width: int) -> Tensor:
        """1 where one of both captions' words is seen, else 0: (1, 1, h, w).

        Raises:
            UserError: nothing was seen, since the UNet has no attention at that side.
        """
        if self.heat_2P is None:
            raise UserError(
                "this network has no cross-attention at a quarter of the latents' side, which tells "
                "where a word is; name the folder of Stable Diffusion 1.4 or 1.5"
            )
        side = isqrt(self.heat_2P.shape[1])
        heat_21hw = F.max_pool2d(self.heat_2P.view(2, 1, side, -1), 3, stride=1, padding=1)
        heat_21hw = F.interpolate(heat_21hw, size=(height, width))
        highest_2111 = heat_21hw.amax((2, 3), keepdim=True).clamp_min(1e-12)  # an absent word: 0
        return (heat_21hw > _BLEND_LEVEL * highest_2111).any(0, keepdim=True).float()

    def after(self, step: int, latents_2Chw: Tensor) -> Tensor:
        """The source's latents outside of the mask, in both rows."""
        if step < self.start:
            return latents_2Chw
        mask_11hw = self.mask(*latents_2Chw.shape[-2:]).to(latents_2Chw.dtype)
        return torch.lerp(latents_2Chw[:1], latents_2Chw, mask_11hw)
