"""VAR (arXiv 2404.02905), compact: a picture from coarse to fine, all codes of a scale at once.

A scale reads the sum of all coarser ones and, as in VAREdit (arXiv 2508.15772), the condition picture, both reduced to
its own grid: what the finest grid says of the condition guides coarse scales badly. Its positions stand at the centers
of their cells on the finest grid. Condition and text come as a prefix, not as the published modulation by class.

A picture has one code of the coarsest scale, so a head that learns every code by itself meets most codes a few times
only. Beside it stands a second one, which knows where the codes lie: a gate says how much a code gains by being near to
what the coarser scales have left over of the condition. An edit keeps most of that.

B batch, G guidance halves, R = B·G rows, S scales, p_k the side of scale k, L = Σ p_k² codes of all scales, D width, C
code dimensions, H = W the finest side, T text slots, V codebook.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from models.compact.blocks import KeysValues, PrefixNetwork, cells, guidance_halves
from models.editar.choosing import SamplerSettings, choose, guide
from models.editar.codec import Codec
from models.editar.config import TransformerConfig

# Squared distance over which nearness falls by log 2: a usual one between a coarse scale's code and what it codes.
REACH = 0.06


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


class Readings(NamedTuple):
    """What positions of the pyramid read, and the codes they choose from."""

    coarser_BLC: Tensor  # the sum of all coarser scales on the position's own grid
    matched_BLC: Tensor  # the condition picture on the position's own grid
    codes_VC: Tensor

    @property
    def inputs_BLI(self) -> Tensor:
        """Both side by side, I = 2·C."""
        return torch.cat([self.coarser_BLC, self.matched_BLC], -1)


class Var(PrefixNetwork):
    """Predicts the codes of every scale from the coarser scales, the condition picture and the text."""

    config: VarConfig

    def __init__(self, config: VarConfig) -> None:
        super().__init__(config, specials=1)
        self.features = nn.Linear(2 * config.code_dim, config.dim, bias=False)
        self.gate = nn.Linear(config.dim, 1, bias=False)
        self.levels = nn.Embedding(len(config.scales), config.dim)
        nn.init.normal_(self.levels.weight, std=0.02)
        # Long enough for the small numbers of coarse scales to be heard beside what all positions have in common.
        nn.init.normal_(self.features.weight, std=0.1 / config.code_dim**0.5)
        nn.init.zeros_(self.gate.weight)

    def _places(self) -> tuple[Tensor, Tensor]:
        centers = [cells(side, self.config.side) for side in self.config.scales]
        return torch.cat([rows for rows, _ in centers]), torch.cat([cols for _, cols in centers])

    def forward_train(
        self,
        text: Tensor,
        condition_codes: Tensor,
        readings: Readings,
        drop_text: Tensor,
        drop_image: Tensor,
    ) -> Tensor:
        """Predict every code of every scale: logits float32 (B, L, V).

        Args:
            text: encoder features (B, T, caption_dim).
            condition_codes: int64 (B, N), plain codes, row-major.
            readings: of all L positions (`teacher_readings`).
            drop_text: bool (B,), where the null text stands in.
            drop_image: bool (B,), where the null picture stands in.
        """
        prefix = self.read_prefix(text, condition_codes, drop_text, drop_image)
        sizes = self.config.sizes
        matched_BLC = readings.matched_BLC.masked_fill(drop_image[:, None, None], 0.0)
        readings = readings._replace(matched_BLC=matched_BLC)
        levels_LD = self.levels.weight.repeat_interleave(torch.tensor(sizes, device=text.device), 0)
        x_BLD = self.features(readings.inputs_BLI) + levels_LD
        return self._logits(self.read(x_BLD, 0, prefix, sizes)[0], readings)

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
        matched = _matched(codec, condition_codes).split(sizes, 1)
        sum_BCHW = _nothing(codec, len(text))
        made: list[Tensor] = []
        for k, uniforms_BP in enumerate(uniforms):
            read = Readings(
                _reduced(codec, sum_BCHW, k).repeat_interleave(halves, 0),
                matched[k].repeat_interleave(halves, 0),
                codec.quantize.rows(),
            )
            logits_RPV, seen = self._scale(read, k, seen)
            share = k / max(len(sizes) - 1, 1)
            strength = 1 + (settings.guidance - 1) * share
            logits_BPV = guide(logits_RPV.unflatten(0, (-1, halves)), strength)
            codes = choose(logits_BPV.flatten(0, 1), settings, uniforms_BP.reshape(-1, 1))
            made.append(codes.view(uniforms_BP.shape))
            sum_BCHW = sum_BCHW + codec.multiscale.contribution(made[k], k, codec.quantize)
        return made

    def _scale(self, readings: Readings, k: int, seen: KeysValues) -> tuple[Tensor, KeysValues]:
        """Logits float32 (B, p_k², V) of one scale, and keys and values with it."""
        start = sum(self.config.sizes[:k])
        x_BPD = self.features(readings.inputs_BLI) + self.levels.weight[k]
        hidden_BPD, seen = self.read(x_BPD, start, seen, [x_BPD.shape[1]])
        return self._logits(hidden_BPD, readings), seen

    def _logits(self, hidden_BLD: Tensor, readings: Readings) -> Tensor:
        learned_BLV = self.output(hidden_BLD).float()
        with torch.autocast(hidden_BLD.device.type, enabled=False):  # distances want all digits
            left_BLC = readings.matched_BLC - readings.coarser_BLC
            return learned_BLV + self.gate(hidden_BLD.float()) * _nearness(
                left_BLC, readings.codes_VC
            )


@torch.no_grad()
def teacher_readings(codec: Codec, codes: Sequence[Tensor], condition_codes: Tensor) -> Readings:
    """What all positions read where a pyramid is given: the recursion of `Var.sample` on its codes.

    In float32 whatever the caller's autocast, as in sampling.
    """
    with torch.autocast(codes[0].device.type, enabled=False):
        sum_BCHW = _nothing(codec, len(codes[0]))
        read = []
        for k, codes_BP in enumerate(codes):
            read.append(_reduced(codec, sum_BCHW, k))
            sum_BCHW = sum_BCHW + codec.multiscale.contribution(codes_BP, k, codec.quantize)
        matched_BLC = _matched(codec, condition_codes)
        return Readings(torch.cat(read, 1), matched_BLC, codec.quantize.rows())


def _nearness(left_BLC: Tensor, codes_VC: Tensor) -> Tensor:
    """0 for a code at that very place, in the end falling with the logarithm of its distance; (B, L, V)."""
    distance_BLV = torch.cdist(left_BLC, codes_VC.expand(len(left_BLC), -1, -1))
    return -torch.log1p(distance_BLV.square() / REACH)


def _matched(codec: Codec, condition_codes: Tensor) -> Tensor:
    """The features of a picture with these plain codes on the grid of every scale, (B, L, C)."""
    features_BCHW = codec.quantize.lookup(condition_codes, codec.config.grid)
    scales = range(len(codec.multiscale.sides))
    return torch.cat([_reduced(codec, features_BCHW, k) for k in scales], 1)


def _nothing(codec: Codec, batch: int) -> Tensor:
    """The sum before the first scale, (B, C, H, W): its positions read zeros, beside what all of a scale get."""
    side, weight = codec.config.grid, codec.quantize.embedding.weight
    return weight.new_zeros(batch, codec.config.codebook_embed_dim, side, side)


def _reduced(codec: Codec, sum_BCHW: Tensor, k: int) -> Tensor:
    """A feature map on the grid of scale k, one vector a position: (B, p_k², C)."""
    return codec.multiscale.reduce(sum_BCHW, k).flatten(2).mT
