"""VAR (arXiv 2404.02905), compact: a picture from coarse to fine, all codes of a scale at once.

A scale reads the sum of all coarser ones, reduced to its own grid. Its positions stand at the centers of their cells on
the finest grid. Condition and text come as a prefix, in the place of the published modulation by class.

B batch, G guidance halves, R = B·G rows, S scales, p_k the side of scale k, L = Σ p_k² codes of all scales, D width, C
code dimensions, H = W the finest side, T text slots, V codebook.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from models.compact.blocks import KeysValues, PrefixNetwork, cells, guidance_halves
from models.editar.choosing import SamplerSettings, choose, guide
from models.editar.codec import Codec
from models.editar.config import TransformerConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class VarConfig(TransformerConfig):
    """A transformer for codes of a pyramid with these sides, coarse to fine; their vectors have `code_dim` numbers."""

    scales: tuple[int, ...]
    code_dim: int

    @property
    def sizes(self) -> list[int]:
        """Codes of every scale."""
        return [side**2 for side in self.scales]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read the `transformer` object of a config.json."""
        return super(VarConfig, cls).from_dict({**values, "scales": tuple(values["scales"])})


class Var(PrefixNetwork):
    """Predicts the codes of every scale from the coarser scales, the condition picture and the text."""

    config: VarConfig

    def __init__(self, config: VarConfig) -> None:
        super().__init__(config, specials=1)
        self.features = nn.Linear(config.code_dim, config.dim, bias=False)
        self.levels = nn.Embedding(len(config.scales), config.dim)
        nn.init.normal_(self.levels.weight, std=0.02)
        # As long as code embeddings are, so that neither drowns the other.
        nn.init.normal_(self.features.weight, std=0.02 / config.code_dim**0.5)

    def _places(self) -> tuple[Tensor, Tensor]:
        centers = [cells(side, self.config.side) for side in self.config.scales]
        return torch.cat([rows for rows, _ in centers]), torch.cat([cols for _, cols in centers])

    def forward_train(
        self,
        text: Tensor,
        condition_codes: Tensor,
        coarser_BLC: Tensor,
        drop_text: Tensor,
        drop_image: Tensor,
    ) -> Tensor:
        """Predict every code of every scale: logits float32 (B, L, V).

        Args:
            text: encoder features (B, T, caption_dim).
            condition_codes: int64 (B, N), plain codes, row-major.
            coarser_BLC: what each scale reads of the coarser ones (`teacher_inputs`).
            drop_text: bool (B,), where the null text stands in.
            drop_image: bool (B,), where the null picture stands in.
        """
        prefix = self.read_prefix(text, condition_codes, drop_text, drop_image)
        sizes = self.config.sizes
        parts = coarser_BLC.split(sizes, 1)
        x_BLD = torch.cat([self._embed(part, k) for k, part in enumerate(parts)], 1)
        return self.output(self.read(x_BLD, 0, prefix, sizes)[0]).float()

    @torch.inference_mode()
    def sample(
        self,
        codec: Codec,
        text: Tensor,
        condition_codes: Tensor,
        settings: SamplerSettings,
        uniforms_BL: Tensor,
    ) -> list[Tensor]:
        """Make the codes of every scale, int64 (B, p_k²) each; the model must be in eval mode.

        Args:
            codec: whose pyramid is made.
            text: encoder features (B, T, caption_dim).
            condition_codes: int64 (B, N), plain codes, row-major.
            settings: guidance, reached linearly by the last scale, and filters.
            uniforms_BL: one random number a code (`models.editar.choosing.uniforms_for`).
        """
        inputs = guidance_halves(text, condition_codes, settings.guidance)
        seen = self.read_prefix(*inputs)
        halves = len(inputs[0]) // len(text)
        sizes = self.config.sizes
        uniforms = uniforms_BL.to(text.device).double().split(sizes, 1)
        sum_BCHW = _nothing(codec, len(text))
        made: list[Tensor] = []
        for k, uniforms_BP in enumerate(uniforms):
            coarser_BPC = _reduced(codec, sum_BCHW, k)
            logits_RPV, seen = self._scale(coarser_BPC.repeat_interleave(halves, 0), k, seen)
            share = k / max(len(sizes) - 1, 1)
            strength = 1 + (settings.guidance - 1) * share
            logits_BPV = guide(logits_RPV.unflatten(0, (-1, halves)), strength)
            codes = choose(logits_BPV.flatten(0, 1), settings, uniforms_BP.reshape(-1, 1))
            made.append(codes.view(uniforms_BP.shape))
            sum_BCHW = sum_BCHW + codec.multiscale.contribution(made[k], k, codec.quantize)
        return made

    def _scale(self, coarser_BPC: Tensor, k: int, seen: KeysValues) -> tuple[Tensor, KeysValues]:
        """Logits float32 (B, p_k², V) of one scale, and keys and values with it."""
        start = sum(self.config.sizes[:k])
        x_BPD = self._embed(coarser_BPC, k)
        hidden_BPD, seen = self.read(x_BPD, start, seen, [x_BPD.shape[1]])
        return self.output(hidden_BPD).float(), seen

    def _embed(self, coarser_BPC: Tensor, k: int) -> Tensor:
        return self.features(coarser_BPC) + self.levels.weight[k]


@torch.no_grad()
def teacher_inputs(codec: Codec, codes: Sequence[Tensor]) -> Tensor:
    """What every scale reads of the coarser ones of a pyramid, (B, L, C): the recursion of `Var.sample` on given codes.

    In float32 whatever the caller's autocast, as in sampling.
    """
    with torch.autocast(codes[0].device.type, enabled=False):
        sum_BCHW = _nothing(codec, len(codes[0]))
        read = []
        for k, codes_BP in enumerate(codes):
            read.append(_reduced(codec, sum_BCHW, k))
            sum_BCHW = sum_BCHW + codec.multiscale.contribution(codes_BP, k, codec.quantize)
        return torch.cat(read, 1)


def _nothing(codec: Codec, batch: int) -> Tensor:
    """The sum before the first scale, (B, C, H, W): its positions read zeros, beside what all of a scale get."""
    side, weight = codec.config.grid, codec.quantize.embedding.weight
    return weight.new_zeros(batch, codec.config.codebook_embed_dim, side, side)


def _reduced(codec: Codec, sum_BCHW: Tensor, k: int) -> Tensor:
    """A feature map on the grid of scale k, one vector a position: (B, p_k², C)."""
    return codec.multiscale.reduce(sum_BCHW, k).flatten(2).mT
