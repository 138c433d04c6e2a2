"""EditAR's two-dimensional rotary table (arXiv 2501.04699).

B batch, H heads, L positions, K head width, P = K/2 rotated pairs, G grid side, T text slots.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rotary_table(side: int, text_slots: int, head_dim: int, base: float = 10000.0) -> Tensor:
    """Cosine and sine for every position of a sequence: float32 (L, P, 2), L = side² + T + side².

    Condition and target picture are the top-left and the bottom-right block of one grid of twice
    the side; the first half of the pairs turns with the row, the second with the column. Text slots
    have cosine *and* sine zero: rotated queries and keys of text vanish, as in the code the
    released weights were trained with.
    """
    rows_N = torch.arange(side).repeat_interleave(side)
    columns_N = torch.arange(side).repeat(side)
    condition_NP2 = turns(rows_N, columns_N, head_dim, base)
    target_NP2 = turns(side + rows_N, side + columns_N, head_dim, base)
    text_TP2 = torch.zeros(text_slots, *condition_NP2.shape[1:])
    return torch.cat([condition_NP2, text_TP2, target_NP2])


def turns(rows_L: Tensor, columns_L: Tensor, head_dim: int, base: float) -> Tensor:
    """Cosine and sine at places of the grid, which may lie between its points: float32 (L, P, 2)."""
    half = head_dim // 2
    # In the order of the published code, to the last bit.
    frequencies = 1.0 / base ** (torch.arange(0, half, 2)[: half // 2].float() / half)
    angles = [torch.outer(places_L.float(), frequencies) for places_L in (rows_L, columns_L)]
    angles_LP = torch.cat(angles, -1)
    return torch.stack([angles_LP.cos(), angles_LP.sin()], -1)


def rotate(x_BHLK: Tensor, table_LP2: Tensor) -> Tensor:
    """Turn pairs (x₂ᵢ, x₂ᵢ₊₁) by the table's angles, in float32; the dtype of x is kept."""
    even, odd = x_BHLK.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = table_LP2.unbind(-1)
    turned = torch.stack([even * cos - odd * sin, odd * cos + even * sin], -1)
    return turned.flatten(-2).type_as(x_BHLK)
