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
    half = head_dim // 2
    frequencies = base ** -(torch.arange(0, half, 2)[: half // 2].float() / half)
    angles_GF = torch.outer(torch.arange(2 * side).float(), frequencies)
    rows_GGF = angles_GF[:, None].expand(-1, 2 * side, -1)
    columns_GGF = angles_GF[None].expand(2 * side, -1, -1)
    angles_GGP = torch.cat([rows_GGF, columns_GGF], -1)
    grid_GGP2 = torch.stack([angles_GGP.cos(), angles_GGP.sin()], -1)
    condition_NP2 = grid_GGP2[:side, :side].flatten(0, 1)
    target_NP2 = grid_GGP2[side:, side:].flatten(0, 1)
    text_TP2 = torch.zeros(text_slots, *condition_NP2.shape[1:])
    return torch.cat([condition_NP2, text_TP2, target_NP2])


def rotate(x_BHLK: Tensor, table_LP2: Tensor) -> Tensor:
    """Turn pairs (x₂ᵢ, x₂ᵢ₊₁) by the table's angles, in float32; the dtype of x is kept."""
    even, odd = x_BHLK.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = table_LP2.unbind(-1)
    turned = torch.stack([even * cos - odd * sin, odd * cos + even * sin], -1)
    return turned.flatten(-2).type_as(x_BHLK)
