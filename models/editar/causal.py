"""Causal self-attention for training, quick on CPUs too.

B batch, H heads, L positions, K head width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_ROWS = 128  # queries a block: small enough to skip most of the upper triangle, large enough for fast products


def causal_attention(q_BHLK: Tensor, k_BHLK: Tensor, v_BHLK: Tensor) -> Tensor:
    """Each position attends to itself and those before it, with scale 1/√K: (B, H, L, K).

    torch's fused CPU kernel computes what the mask then hides, and its backward pass is slow: in blocks of rows, each
    against only the keys it may see, a training step of the scenes model takes half the time.
    """
    if q_BHLK.device.type != "cpu" or not torch.is_grad_enabled():
        return F.scaled_dot_product_attention(q_BHLK, k_BHLK, v_BHLK, is_causal=True)
    length = q_BHLK.shape[2]
    blocks = [
        _block(q_BHLK[:, :, start : start + _ROWS], k_BHLK, v_BHLK, start)
        for start in range(0, length, _ROWS)
    ]
    return torch.cat(blocks, 2)


def _block(q_BHRK: Tensor, k_BHLK: Tensor, v_BHLK: Tensor, start: int) -> Tensor:
    """The rows from `start` on, against the keys up to the last of them."""
    rows, end = q_BHRK.shape[2], start + q_BHRK.shape[2]
    hidden_RE = torch.ones(rows, end, dtype=torch.bool).triu(start + 1)
    mask_RE = q_BHRK.new_zeros(rows, end).masked_fill(hidden_RE, -torch.inf)
    q, k, v = (x.flatten(0, 1) for x in (q_BHRK, k_BHLK[:, :, :end], v_BHLK[:, :, :end]))
    scores = torch.baddbmm(mask_RE, q, k.mT, alpha=q.shape[-1] ** -0.5)
    return torch.bmm(scores.softmax(-1).to(v.dtype), v).view_as(q_BHRK)
