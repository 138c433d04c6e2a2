"""Guidance, temperature, top-k and the race of all codes, in one kernel: one program a row, logits read once.

The k-th largest logit is found bit by bit, in the order of floats as integers: 32 counts over numbers that are in
registers. B rows, G guidance halves, V codebook.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from models.editar.choosing import SamplerSettings


def race(logits_RGV: Tensor, keys_R: Tensor, settings: SamplerSettings) -> Tensor:
    """What `models.editar.racing.race` makes of guided logits: int64 (R,). Not for greedy or top-p choices."""
    rows, halves, codes = logits_RGV.shape
    winners_R = torch.empty(rows, dtype=torch.int64, device=logits_RGV.device)
    block = triton.next_power_of_2(codes)
    _race[(rows,)](
        logits_RGV, keys_R, winners_R, settings.guidance, max(settings.temperature, 1e-5),
        settings.top_k, codes, HALVES=halves, LIMITED=0 < settings.top_k < codes, BLOCK=block,
        num_warps=16 if block >= 8192 else 4,
    )  # fmt: skip
    return winners_R


@triton.jit
def _mixed(bits):
    """As `models.editar.racing`; unsigned, so that shifts bring in zeros."""
    bits = (bits ^ (bits >> 16)) * 0x7FEB352D
    bits = (bits ^ (bits >> 15)) * 0x846CA68B
    return bits ^ (bits >> 16)


@triton.jit
def _race(
    logits, keys, winners, guidance, temperature, k, codes,
    HALVES: tl.constexpr, LIMITED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    code = tl.arange(0, BLOCK)
    inside = code < codes
    start = logits + row.to(tl.int64) * HALVES * codes
    score = tl.load(start + code, mask=inside, other=0.0).to(tl.float32)
    if HALVES == 2:
        null = tl.load(start + codes + code, mask=inside, other=0.0).to(tl.float32)
        score = null + guidance * (score - null)
    score = tl.where(inside, score / temperature, float("-inf"))
    if LIMITED:
        bits = score.to(tl.int32, bitcast=True)
        order = bits ^ ((bits >> 31) & 0x7FFFFFFF)
        least = tl.where(tl.sum((order >= 0).to(tl.int32), 0) >= k, 0, -2147483648)
        for i in range(31):
            more = least + (1 << (30 - i))
            least = tl.where(tl.sum((order >= more).to(tl.int32), 0) >= k, more, least)
        score = tl.where(order >= least, score, float("-inf"))
    key = tl.load(keys + row).to(tl.uint32, bitcast=True)
    mixed = _mixed(_mixed((code + 1).to(tl.uint32) * 0x9E3779B9) ^ key) & 0x7FFFFFFF
    part = (mixed.to(tl.int32).to(tl.float32) + 0.5) * (2.0**-31)
    # -log1p(-part): near 0 by its series, for there winners come from
    part = tl.minimum(part, 1.0 - 2.0**-24)
    series = part * (1.0 + part * (0.5 + part * (1.0 / 3 + part * 0.25)))
    time = tl.where(part < 2.0**-6, series, -tl.log(1.0 - part))
    winner = tl.argmax(score - tl.log(time), 0)
    tl.store(winners + row, winner.to(tl.int64))
