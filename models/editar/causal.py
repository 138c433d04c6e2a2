"""Attention for training, causal or over everything, quick on CPUs too.

B batch, H heads, L positions, M keys, K head width, J width of values.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_ROWS = 128  # queries a block: small enough to skip most of the upper triangle, large enough for fast products


def causal_attention(
    q_BHLK: Tensor,
    k_BHLK: Tensor,
    v_BHLK: Tensor,
    seen_BL: Tensor | None = None,
    training: bool = True,
) -> Tensor:
    """Each position attends to itself and those before it, with scale 1/√K: (B, H, L, K).

    torch's fused CPU kernel computes what the mask then hides, and its backward pass is slow: in blocks of rows, each
    against only the keys it may see, a training step of the scenes model takes half the time.

    Args:
        q_BHLK: queries.
        k_BHLK: keys.
        v_BHLK: values.
        seen_BL: bool, which keys may be seen at all; a position that may see none gets a mean of hidden ones.
        training: otherwise the fused kernel serves even where gradients are asked for, and rounds as it always does.
    """
    length = q_BHLK.shape[2]
    if not (training and _by_hand(q_BHLK)):
        if seen_BL is None:
            return F.scaled_dot_product_attention(q_BHLK, k_BHLK, v_BHLK, is_causal=True)
        mask_B1LL = _bias(q_BHLK, 0, length, length, seen_BL)[:, None]
        return F.scaled_dot_product_attention(q_BHLK, k_BHLK, v_BHLK, mask_B1LL)
    blocks = []
    for start in range(0, length, _ROWS):
        rows_BHRK = q_BHLK[:, :, start : start + _ROWS]
        end = start + rows_BHRK.shape[2]
        bias_1RE = _bias(q_BHLK, start, end, end, seen_BL)
        blocks.append(_attend(rows_BHRK, k_BHLK[:, :, :end], v_BHLK[:, :, :end], bias_1RE))
    return torch.cat(blocks, 2)


def full_attention(q_BHLK: Tensor, k_BHMK: Tensor, v_BHMJ: Tensor) -> Tensor:
    """Each query attends to every key, with scale 1/√K: (B, H, L, width of the values)."""
    if not _by_hand(q_BHLK):
        return F.scaled_dot_product_attention(q_BHLK, k_BHMK, v_BHMJ)
    return _attend(q_BHLK, k_BHMK, v_BHMJ, q_BHLK.new_zeros(1, 1, 1))


def _by_hand(q_BHLK: Tensor) -> bool:
    return bool(q_BHLK.device.type == "cpu" and torch.is_grad_enabled())


def _attend(q_BHRK: Tensor, k_BHEK: Tensor, v_BHEK: Tensor, bias: Tensor) -> Tensor:
    """Attention as two products, `bias` (1 or B, R, E) added to the logits."""
    if len(bias) > 1:
        bias = bias.repeat_interleave(q_BHRK.shape[1], 0)
    q, k, v = (x.flatten(0, 1) for x in (q_BHRK, k_BHEK, v_BHEK))
    scores = torch.baddbmm(bias, q, k.mT, alpha=q.shape[-1] ** -0.5)
    wide = torch.promote_types(scores.dtype, torch.float32)  # as torch's own kernels have it
    return torch.bmm(scores.softmax(-1, dtype=wide).to(v.dtype), v).unflatten(0, q_BHRK.shape[:2])


def _bias(like: Tensor, start: int, end: int, keys: int, seen_BL: Tensor | None) -> Tensor:
    """Logits' bias (1 or B, R, E) of the rows from start to end: minus infinity for what comes later."""
    later_RE = torch.ones(end - start, keys, dtype=torch.bool, device=like.device).triu(start + 1)
    bias_1RE = like.new_zeros(1, *later_RE.shape)
    if seen_BL is not None:
        # Finite, so that a position all of whose keys are hidden is no division of zero by zero.
        hidden_B1E = ~seen_BL[:, None, :keys]
        bias_1RE = torch.where(hidden_B1E, torch.finfo(like.dtype).min, bias_1RE)
    return bias_1RE.masked_fill(later_RE, -torch.inf)
