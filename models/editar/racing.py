"""Draws as races: every code arrives after an exponential time with its probability as rate, and the first one wins.

The arrival times at a place of a picture are fixed numbers, made from that place's uniform number alone, so the winner
is a fixed function of the logits: exact, and the same in any company. What an inverse cumulative distribution lacks:
when the logits change a little, the winner seldom does. Of two distributions at total variation distance d, both
races have the same winner with probability at least (1 - d) / (1 + d) (Daliri, Musco and Suresh, arXiv 2408.07978),
whatever the order of the codes. That is what makes guesses come true (`models.editar.sampler`).

B pictures, N codes a picture, R rows of any kind, V codebook.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.editar.choosing import SamplerSettings, keep_top_k, keep_top_p

_SPREAD = -0x61C88647  # so that neighboring codes share no bits when they are mixed
_PIECE = 2**16  # numbers made at once: few enough to stay in a processor's own cache


def keys_of(uniforms: Tensor) -> Tensor:
    """32 bits, as int32, from each uniform number in [0, 1)."""
    return _mixed((uniforms.double() * 2.0**32 - 2.0**31).to(torch.int32))


def head_starts(keys: Tensor, codes: int) -> Tensor:
    """By how much each code is ahead at each place, float32 (..., V): minus the logarithm of its time at rate one.

    Args:
        keys: of the places, from `keys_of`, any shape.
        codes: V.
    """
    codes_V = torch.arange(1, codes + 1, dtype=torch.int32, device=keys.device) * _SPREAD
    flat = keys.flatten()
    rows = len(flat) if keys.is_cuda else max(1, _PIECE // codes)
    pieces = [_head_starts(_mixed(codes_V), piece[:, None]) for piece in flat.split(rows)]
    return torch.cat(pieces).view(*keys.shape, codes)


def _head_starts(codes_V: Tensor, keys_R1: Tensor) -> Tensor:
    bits_RV = _mixed(codes_V ^ keys_R1) & 0x7FFFFFFF
    # In (0, 1), and most finely divided near 0, where the times of winners come from.
    parts_RV = bits_RV.float().add_(0.5).mul_(2.0**-31).clamp_(max=1 - 2.0**-24)
    return parts_RV.neg_().log1p_().neg_().log_().neg_()


def race(logits_RV: Tensor, ahead_RV: Tensor, settings: SamplerSettings) -> Tensor:
    """One code a row, int64 (R,): the best one, or the winner after temperature, top-k and top-p."""
    if settings.greedy:
        return logits_RV.argmax(-1)
    logits_RV = logits_RV / max(settings.temperature, 1e-5)
    if settings.top_p >= 1.0 and not logits_RV.is_cuda:
        # Who wins against all wins against the best k, if among them: that is quicker to find out.
        winners_R1 = (logits_RV + ahead_RV).argmax(-1, keepdim=True)
        if bool(_among(logits_RV, winners_R1, settings.top_k).all()):
            return winners_R1.squeeze(-1)
    logits_RV = keep_top_p(keep_top_k(logits_RV, settings.top_k), settings.top_p)
    return (logits_RV + ahead_RV).argmax(-1)


def _among(logits_RV: Tensor, codes_R1: Tensor, k: int) -> Tensor:
    """Whether `keep_top_k` would keep the codes: bool (R, 1)."""
    if k <= 0 or k >= logits_RV.shape[-1]:
        return torch.ones_like(codes_R1, dtype=torch.bool)
    return (logits_RV > logits_RV.gather(-1, codes_R1)).sum(-1, keepdim=True) < k


def _mixed(bits: Tensor) -> Tensor:
    """A permutation of 32-bit numbers in which every bit of the input changes half of the output (lowbias32).

    Products of int32 wrap around, and shifts bring in copies of the sign, which the masks take away.
    """
    bits = (bits ^ ((bits >> 16) & 0xFFFF)) * 0x7FEB352D
    bits = (bits ^ ((bits >> 15) & 0x1FFFF)) * -0x7B935975
    return bits ^ ((bits >> 16) & 0xFFFF)
