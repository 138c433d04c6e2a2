"""From logits to codes: guidance, temperature, filters, and draws by given uniform numbers.

B rows, G guidance halves (conditional, then null text), V codebook.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerSettings:
    """How codes are drawn, by default as published. Guidance of 1 or less means none."""

    guidance: float = 3.0
    greedy: bool = False
    temperature: float = 1.0
    top_k: int = 1000  # 0: no limit
    top_p: float = 1.0  # 1: no limit
    cfg_interval: int = -1  # of EditAR: steps after this one have no guidance; -1: all have it


def uniforms_for(seeds: Sequence[int], n: int) -> Tensor:
    """The random numbers of each picture, from its own seed: float32 (B, n) in [0, 1)."""
    below_one = 1.0 - 2.0**-24  # the largest float32 under 1; rounding must not reach 1
    rows = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)  # the low 32 of 63 bits
        rows.append(torch.rand(n, generator=generator, dtype=torch.float64))
    return torch.stack(rows).float().clamp(max=below_one)


def guide(logits_BGV: Tensor, guidance: float) -> Tensor:
    """Classifier-free guidance: from the null-text logits to, and past, the conditional ones."""
    conditional_BV, null_BV = logits_BGV[:, 0], logits_BGV[:, -1]
    if logits_BGV.shape[1] == 1:
        return conditional_BV
    return null_BV + guidance * (conditional_BV - null_BV)


def guide_early(logits_RGV: Tensor, settings: SamplerSettings, places_R: Tensor) -> Tensor:
    """`guide`, but for codes that `cfg_interval` leaves without: the conditional logits, (R, V).

    Args:
        logits_RGV: of codes at any places.
        settings: guidance and `cfg_interval`, which counts the steps after the prefill from 0.
        places_R: int64, of the codes in their pictures; the prefill draws the one at 0.
    """
    guided_RV = guide(logits_RGV, settings.guidance)
    if settings.cfg_interval < 0:
        return guided_RV
    late_R1 = places_R[:, None] - 1 > settings.cfg_interval
    return torch.where(late_R1, logits_RGV[:, 0], guided_RV)


def choose(logits_BV: Tensor, settings: SamplerSettings, uniform_B1: Tensor) -> Tensor:
    """One code a row, int64 (B,): the best one, or drawn after temperature, top-k and top-p."""
    if settings.greedy:
        return logits_BV.argmax(-1)
    logits_BV = logits_BV / max(settings.temperature, 1e-5)
    logits_BV = keep_top_k(logits_BV, settings.top_k)
    logits_BV = keep_top_p(logits_BV, settings.top_p)
    return draw(logits_BV.softmax(-1), uniform_B1)


def keep_top_k(logits_BV: Tensor, k: int) -> Tensor:
    """Rule out everything below the k-th largest logit; ties with it survive."""
    if k <= 0 or k >= logits_BV.shape[-1]:
        return logits_BV
    # Not topk, which would sort what it keeps.
    least_B1 = logits_BV.kthvalue(logits_BV.shape[-1] - k + 1, keepdim=True).values
    return logits_BV.masked_fill(logits_BV < least_B1, -torch.inf)


def keep_top_p(logits_BV: Tensor, p: float) -> Tensor:
    """Rule out what comes after the likeliest codes that together first exceed probability p."""
    if p >= 1.0:
        return logits_BV
    sorted_BV, order_BV = logits_BV.sort(-1, descending=True)
    mass_BV = sorted_BV.softmax(-1).cumsum(-1)
    beyond_BV = mass_BV > p
    # The code that crosses the threshold stays, and so does always the first.
    beyond_BV = torch.cat([torch.zeros_like(beyond_BV[:, :1]), beyond_BV[:, :-1]], -1)
    return logits_BV.masked_fill(beyond_BV.scatter(-1, order_BV, beyond_BV), -torch.inf)


def draw(probabilities_BV: Tensor, uniform_B1: Tensor) -> Tensor:
    """Invert the cumulative distribution at a uniform number: int64 (B,).

    In float64, so that a number just under 1 never reaches past the last possible code.
    """
    mass_BV = probabilities_BV.double().cumsum(-1)
    return torch.searchsorted(mass_BV, uniform_B1 * mass_BV[:, -1:], right=True).squeeze(-1)
