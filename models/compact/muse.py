"""Muse (arXiv 2301.00704), compact: masked codes predicted all at once, decoded as in MaskGIT (arXiv 2202.04200).

B batch, G guidance halves, R = B·G rows, N codes a picture, D width, T text slots, V codebook.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, floor, pi

import torch
from torch import Tensor

from models.compact.blocks import KeysValues, PrefixNetwork, cells, guidance_halves
from models.editar.choosing import SamplerSettings, choose, guide, uniforms_for
from models.editar.config import TransformerConfig

STEPS = 12
CHOICE_TEMPERATURE = 4.5  # as published for MaskGIT
_LEAST = 1e-20  # a uniform number of zero has no Gumbel value


@dataclass(frozen=True, slots=True, kw_only=True)
class MuseSettings:
    """How codes are drawn. Guidance of 1 or less means none; it is reached linearly by the last step."""

    guidance: float = 1.0
    temperature: float = 1.0
    top_k: int = 0  # 0: no limit
    steps: int = STEPS
    choice_temperature: float = (
        CHOICE_TEMPERATURE  # noise in the choice of what stays; falls to zero
    )


class Muse(PrefixNetwork):
    """Predicts the masked codes of a picture from the others, the condition picture and the text."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config, specials=2)
        self.mask_code = config.vocab_size  # an input only: the head has no output for it

    def _places(self) -> tuple[Tensor, Tensor]:
        return cells(self.config.side, self.config.side)

    def forward_train(
        self,
        text: Tensor,
        condition_codes: Tensor,
        target_codes: Tensor,
        masked_BN: Tensor,
        drop_text: Tensor,
        drop_image: Tensor,
    ) -> Tensor:
        """Predict the masked codes: logits float32 (masked codes of the batch, V), in row-major order.

        Args:
            text: encoder features (B, T, caption_dim).
            condition_codes: int64 (B, N), row-major.
            target_codes: int64 (B, N), row-major; what is masked is never read.
            masked_BN: bool (`random_mask`).
            drop_text: bool (B,), where the null text stands in.
            drop_image: bool (B,), where the null picture stands in.
        """
        prefix = self.read_prefix(text, condition_codes, drop_text, drop_image)
        ids_BN = target_codes.masked_fill(masked_BN, self.mask_code)
        return self.output(self.hidden(ids_BN, prefix)[masked_BN]).float()

    def hidden(self, ids_BN: Tensor, prefix: KeysValues) -> Tensor:
        """Hidden states (B, N, D) of codes or `mask_code`s behind a prefix."""
        return self.read(self.tok_embeddings(ids_BN), 0, prefix, [ids_BN.shape[1]])[0]

    @torch.inference_mode()
    def sample(
        self, text: Tensor, condition_codes: Tensor, settings: MuseSettings, uniforms_BU: Tensor
    ) -> Tensor:
        """Make codes int64 (B, N), row-major; the model must be in eval mode.

        Notation of MaskGIT: step t of T; n codes stay masked after it, those of the least confidence, which is the
        log-probability of the code drawn, plus Gumbel noise whose share falls linearly to zero.

        Args:
            text: encoder features (B, T, caption_dim).
            condition_codes: int64 (B, N), row-major.
            settings: schedule, guidance and filters.
            uniforms_BU: random numbers of each picture (`muse_uniforms`).
        """
        inputs = guidance_halves(text, condition_codes, settings.guidance)
        prefix = self.read_prefix(*inputs)
        halves = len(inputs[0]) // len(text)
        ids_BN = torch.full_like(condition_codes, self.mask_code)
        uniforms_BT2N = uniforms_BU.view(len(text), settings.steps, 2, -1).to(text.device)
        for t in range(1, settings.steps + 1):
            share = t / settings.steps
            # 1. Logits of every place, guided the more the later.
            hidden_RND = self.hidden(ids_BN.repeat_interleave(halves, 0), prefix)
            logits_BGNV = self.output(hidden_RND).float().unflatten(0, (-1, halves))
            logits_BNV = guide(logits_BGNV, 1 + (settings.guidance - 1) * share)
            # 2. A code for every masked place.
            drawing_BN, noise_BN = uniforms_BT2N[:, t - 1].unbind(1)
            drawn_BN = _draw(logits_BNV, settings, drawing_BN)
            masked_BN = ids_BN == self.mask_code
            ids_BN = torch.where(masked_BN, drawn_BN, ids_BN)
            if t == settings.steps:
                break
            # 3. Confidence, by the probability before temperature and top-k; what was known stays known.
            log_p_BNV = logits_BNV.log_softmax(-1)
            confidence_BN = log_p_BNV.gather(-1, drawn_BN[..., None]).squeeze(-1)
            gumbel_BN = -torch.log(-torch.log(noise_BN.clamp(min=_LEAST)))
            confidence_BN += settings.choice_temperature * (1 - share) * gumbel_BN
            confidence_BN = confidence_BN.masked_fill(~masked_BN, torch.inf)
            # 4. The n least sure places are masked again.
            n = still_masked(ids_BN.shape[1], settings.steps)[t - 1]
            least_BN = confidence_BN.argsort(stable=True)[:, :n]
            ids_BN = ids_BN.scatter(1, least_BN, self.mask_code)
        return ids_BN


def still_masked(codes: int, steps: int) -> list[int]:
    """How many codes are masked after each step: a falling cosine, at least one fewer each, in the end none."""
    counts, masked = [], codes
    for t in range(1, steps):
        # At least one, even where there are more steps than codes.
        masked = max(1, min(floor(codes * cos(pi / 2 * t / steps)), masked - 1))
        counts.append(masked)
    return [*counts, 0]


def random_mask(batch: int, codes: int, generator: torch.Generator) -> Tensor:
    """Which codes to mask in training, bool (B, N) on the CPU: a share cos(π u/2) of each picture, u uniform."""
    share_B = torch.cos(torch.rand(batch, generator=generator) * (pi / 2))
    count_B1 = (share_B * codes).round().clamp(min=1)[:, None]
    rank_BN = torch.rand(batch, codes, generator=generator).argsort(1).argsort(1)
    return rank_BN < count_B1


def muse_uniforms(seeds: Sequence[int], codes: int, steps: int) -> Tensor:
    """The random numbers of each picture, for draws and for confidence: float32 (B, steps·2·N)."""
    return uniforms_for(seeds, steps * 2 * codes)


def _draw(logits_BNV: Tensor, settings: MuseSettings, uniforms_BN: Tensor) -> Tensor:
    filters = SamplerSettings(temperature=settings.temperature, top_k=settings.top_k)
    codes = choose(logits_BNV.flatten(0, 1), filters, uniforms_BN.reshape(-1, 1).double())
    return codes.view(uniforms_BN.shape)
