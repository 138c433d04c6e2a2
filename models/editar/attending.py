"""The attention of one sampling pass, with torch's own functions: turn, store, look at the filled part of the cache.

`models.editar.kernels` does the same on a GPU.

B pictures, G guidance halves, W codes read at once, Q = W·G queries, L cache slots, M positions of both pictures, H
heads, K head width, P = K/2 rotated pairs, D width, R = B·Q rows.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from models.editar.cache import LayerCache, Layout
from models.editar.transformer import Transformer


class Attention(Protocol):
    """What is the same in every pass."""

    def begin(self, places_BW: Tensor, length: int) -> Callable[[LayerCache, Tensor], Tensor]:
        """A pass that reads codes at given places of each picture, and slots up to a length.

        It is called with each layer's cache and its queries, keys and values (R, 3·D), and returns
        what the heads find, (R, D).
        """


class TorchAttention:
    """With torch's own functions."""

    def __init__(self, model: Transformer, layout: Layout, batch: int) -> None:
        c, like = model.config, model.tok_embeddings.weight
        self.layout, self.heads = layout, c.n_head
        self.turns_M131P = _turns(model.rotary, c.cls_token_num)
        self.bias_GL = _bias(layout, c.cls_token_num).to(like)
        self.slots_L = torch.arange(layout.length, device=like.device)
        self.pictures_B1 = torch.arange(batch, device=like.device)[:, None]

    def turned(self, batch: int, qkv_RD: Tensor, turns_Q31P: Tensor) -> Tensor:
        """Queries, keys and values (B, Q, 3, H, K) of whole rows, the first two rotated in float32."""
        shape = (batch, -1, 3, self.heads, turns_Q31P.shape[-1], 2)
        pairs = torch.view_as_complex(qkv_RD.float().view(shape))
        turned = torch.view_as_real(pairs * turns_Q31P)
        return turned.view(*turned.shape[:4], -1).to(qkv_RD.dtype)

    def begin(self, places_BW: Tensor, length: int) -> TorchPass:
        """A pass that reads codes at given places of each picture, and slots up to a length."""
        return TorchPass(self, places_BW, length)


class TorchPass:
    """One pass: a function of every layer's cache and products."""

    def __init__(self, fixed: TorchAttention, places_BW: Tensor, length: int) -> None:
        layout = fixed.layout
        slots_BWG = layout.slots(places_BW)
        # A code sees what comes before it and itself, of its own half.
        seen_BWGL = fixed.slots_L[:length] <= slots_BWG[..., None]
        bias_BWGL = torch.where(seen_BWGL, fixed.bias_GL[:, :length], -torch.inf)
        self.bias_B1QL = bias_BWGL.flatten(1, 2)[:, None]
        turns_BW131P = fixed.turns_M131P[layout.before + places_BW]
        halves_BWG31P = turns_BW131P.expand(-1, -1, layout.halves, -1, -1, -1)
        self.turns_BQ31P = halves_BWG31P.flatten(1, 2)
        self.at = (fixed.pictures_B1[: len(places_BW)], slots_BWG.flatten(1))
        self.fixed, self.length = fixed, length

    def __call__(self, cache: LayerCache, qkv_RD: Tensor) -> Tensor:
        """What the heads find, (R, D)."""
        turned_BQ3HK = self.fixed.turned(len(cache.keys), qkv_RD, self.turns_BQ31P)
        cache.write(self.at, turned_BQ3HK.narrow(2, 1, 2))
        keys, values = cache.keys.narrow(2, 0, self.length), cache.values.narrow(2, 0, self.length)
        q_BHQK = turned_BQ3HK.select(2, 0).transpose(1, 2)
        y_BHQK = F.scaled_dot_product_attention(q_BHQK, keys, values, self.bias_B1QL)
        return y_BHQK.transpose(1, 2).reshape(len(qkv_RD), -1)


def _turns(table_LP2: Tensor, text_slots: int) -> Tensor:
    """Complex factors (M, 1, 3, 1, P) of condition and target positions; values are not rotated."""
    side = (len(table_LP2) - text_slots) // 2
    turns_MP = torch.view_as_complex(torch.cat([table_LP2[:side], table_LP2[-side:]]))
    turns_M3P = torch.stack([turns_MP, turns_MP, torch.ones_like(turns_MP)], 1)
    return turns_M3P[:, None, :, None]


def _bias(layout: Layout, text_slots: int) -> Tensor:
    """What a half adds to its attention logits at each slot, float32 (G, L)."""
    shared_GN = torch.zeros(layout.halves, layout.before)
    own_GG = torch.full((layout.halves, layout.halves), -torch.inf).fill_diagonal_(0.0)
    codes = (layout.length - layout.before) // layout.halves - 1
    return torch.cat([shared_GN, own_GG + log(text_slots), own_GG.repeat(1, codes)], 1)
