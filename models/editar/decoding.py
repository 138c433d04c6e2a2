"""The transformer's forward pass for sampling: a prefill, then a few codes a step from static caches.

Exact algebra on the published forward pass, no approximation:

- The condition picture comes before the text and attention is causal, so both guidance halves share
  its keys and values: they are computed, stored and read once.
- The rotary table makes queries and keys of text zero. A text query thus weighs all it sees alike
  (its attention is a running mean of values), and in every later softmax the T text slots of a half
  act as one slot with logit log T and the mean value.

Cache slots: the condition codes, one text slot a half, then the target codes, each once a half. A
slot is read by its own half only, the condition by both, so one attention with a bias serves all.

B pictures, G guidance halves (text, then null text; 1 without guidance), W codes read at once, Q =
W·G queries, N codes a picture, T text slots, L cache slots, H heads, K head width, P = K/2 rotated
pairs, D width, R rows of any kind, V codebook.
"""

from __future__ import annotations

from math import log
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models.editar.transformer import Block, RMSNorm, Transformer


class Norm(NamedTuple):
    """A root-mean-square norm, ready to be computed in few kernels."""

    weight: Tensor
    eps: float
    floor: Tensor  # √(D·eps): the length is lifted to it

    @classmethod
    def of(cls, norm: RMSNorm) -> Norm:
        """Take the weight of a module."""
        floor = norm.weight.new_tensor((len(norm.weight) * norm.eps) ** 0.5, dtype=torch.float32)
        return cls(norm.weight, norm.eps, floor)

    def __call__(self, x: Tensor) -> Tensor:
        """Normalize over the last axis, in float32; the dtype of x is kept."""
        if x.is_cuda:
            return F.rms_norm(x, x.shape[-1:], self.weight, self.eps)
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        root = torch.hypot(length, self.floor).mul_(x.shape[-1] ** -0.5)
        return (x / root).to(x.dtype) * self.weight


class Layer(NamedTuple):
    """Weights of one layer and its part of the cache; views, so that a step looks nothing up."""

    attention_norm: Norm
    qkv: Tensor
    value: Tensor  # the last third of qkv
    out: Tensor  # transposed, as is `down`, for products that add
    ffn_norm: Norm
    gate: Tensor
    up: Tensor
    down: Tensor
    stored: Tensor  # keys and values, as they are written: (B, L, 2, H, K)
    keys: Tensor  # the same memory as attention reads it, (B, H, L, K) and contiguous in that order
    values: Tensor

    @classmethod
    def of(cls, block: Block, cache_2BHLK: Tensor) -> Layer:
        """Take the weights of a module."""
        attention, ffn = block.attention, block.feed_forward
        keys_BHLK, values_BHLK = cache_2BHLK
        return cls(
            attention_norm=Norm.of(block.attention_norm),
            qkv=attention.wqkv.weight,
            value=attention.wqkv.weight.chunk(3)[2],
            out=attention.wo.weight.T,
            ffn_norm=Norm.of(block.ffn_norm),
            gate=ffn.w1.weight,
            up=ffn.w3.weight,
            down=ffn.w2.weight.T,
            stored=cache_2BHLK.permute(1, 3, 0, 2, 4),
            keys=keys_BHLK,
            values=values_BHLK,
        )


class Decoder:
    """Views of a transformer's weights, and room for the keys and values of one batch.

    It may be used for one batch after another, and never holds the transformer itself.
    """

    def __init__(self, model: Transformer, batch: int, halves: int) -> None:
        c, like = model.config, model.tok_embeddings.weight
        self.tok_embeddings, self.output = model.tok_embeddings, model.output
        self.cls_embedding = model.cls_embedding
        self.batch, self.halves = batch, halves
        self.heads, self.before = c.n_head, c.block_size
        # Text and all codes but the last, which is never read, once a half.
        self.length = c.block_size + halves * c.block_size
        shape = (2, batch, c.n_head, self.length, c.head_dim)
        # Zeros, for what is not yet filled is multiplied by zero and must be finite.
        caches = [like.new_zeros(shape) for _ in model.layers]
        self.layers = [Layer.of(*pair) for pair in zip(model.layers, caches, strict=True)]
        self.norm = Norm.of(model.norm)
        self.bias_GL = _bias(c.block_size, halves, self.length, c.cls_token_num).to(like)
        self.slots_L = torch.arange(self.length, device=like.device)
        self.pictures_B1 = torch.arange(batch, device=like.device)[:, None]
        self.turns_M131P = _turns(model.rotary, c.cls_token_num)

    def prefill(self, text: Tensor, condition_codes: Tensor) -> Tensor:
        """Fill the cache with condition and text; logits (B, G, V) of the first code, float32."""
        image_BND = self.tok_embeddings(condition_codes)
        text_BGTD = self._embed_text(text).to(image_BND.dtype)
        for layer in self.layers:
            last = layer is self.layers[-1]
            image_BND, total_BD = self._prefill_image(layer, image_BND, last)
            text_BGTD = self._prefill_text(layer, text_BGTD, total_BD, last)
        return self.output(self.norm(text_BGTD[:, :, -1])).float()

    def filled(self, codes: int) -> int:
        """How many slots are in use after that many codes of every picture are read."""
        return self.before + self.halves * (1 + codes)

    def step(self, codes_BW: Tensor, places_BW: Tensor, length: int) -> Tensor:
        """Read W codes at given places of each picture; logits of those that follow each.

        Args:
            codes_BW: int64.
            places_BW: int64, everything before them read; a tensor, so that nothing waits for the
                device.
            length: how many slots to look at, at least all that are `filled`.

        Returns:
            Float32 (B, W, G, V).
        """
        own_G = self.slots_L[: self.halves]
        slots_BWG = self.filled(0) + self.halves * places_BW[..., None] + own_G
        # A code sees what comes before it and itself, of its own half.
        seen_BWGL = self.slots_L[:length] <= slots_BWG[..., None]
        bias_BWGL = torch.where(seen_BWGL, self.bias_GL[:, :length], -torch.inf)
        bias_B1QL = bias_BWGL.flatten(1, 2)[:, None]
        turns_BW131P = self.turns_M131P[self.before + places_BW]
        turns_BQ31P = turns_BW131P.expand(-1, -1, self.halves, -1, -1, -1).flatten(1, 2)
        places = (self.pictures_B1, slots_BWG.flatten(1))
        x_RD = self.tok_embeddings(codes_BW.flatten().repeat_interleave(self.halves))
        for layer in self.layers:
            turned_BQ3HK = self._turned(layer, x_RD, turns_BQ31P)
            layer.stored.index_put_(places, turned_BQ3HK.narrow(2, 1, 2))
            keys, values = layer.keys.narrow(2, 0, length), layer.values.narrow(2, 0, length)
            q_BHQK = turned_BQ3HK.select(2, 0).transpose(1, 2)
            y_BHQK = F.scaled_dot_product_attention(q_BHQK, keys, values, bias_B1QL)
            x_RD = _finish(layer, x_RD, y_BHQK.transpose(1, 2).reshape(x_RD.shape))
        return self.output(self.norm(x_RD)).float().view(*slots_BWG.shape, -1)

    def _embed_text(self, text: Tensor) -> Tensor:
        """Input vectors (B, G, T, D) of the text and, for two halves, of the null text."""
        null_TC = self.cls_embedding.uncond_embedding
        own_BTD = self.cls_embedding.cap_proj(text.to(null_TC.dtype))
        if self.halves == 1:
            return own_BTD[:, None]
        return torch.stack([own_BTD, self.cls_embedding.cap_proj(null_TC).expand_as(own_BTD)], 1)

    def _prefill_image(self, layer: Layer, x_BND: Tensor, last: bool) -> tuple[Tensor, Tensor]:
        """One layer over the condition codes; also the sum (B, D) of their values, float32."""
        flat_RD = x_BND.flatten(0, 1)
        turned_BN3HK = self._turned(layer, flat_RD, self.turns_M131P[: self.before, 0])
        q_BHNK, k_BHNK, v_BHNK = turned_BN3HK.permute(2, 0, 3, 1, 4)
        layer.keys[:, :, : self.before] = k_BHNK
        layer.values[:, :, : self.before] = v_BHNK
        total_BD = v_BHNK.sum(2, dtype=torch.float32).flatten(1)
        if last:  # nobody reads what the condition becomes after it
            return x_BND, total_BD
        y_BHNK = F.scaled_dot_product_attention(q_BHNK, k_BHNK, v_BHNK, is_causal=True)
        y_RD = y_BHNK.transpose(1, 2).reshape(flat_RD.shape)
        return _finish(layer, flat_RD, y_RD).view_as(x_BND), total_BD

    def _prefill_text(self, layer: Layer, x_BGTD: Tensor, total_BD: Tensor, last: bool) -> Tensor:
        """One layer over the text slots of both halves, which need no queries and no keys."""
        slots = x_BGTD.shape[2]
        v_BGTD = F.linear(layer.attention_norm(x_BGTD), layer.value)
        sums_BGTD = v_BGTD.cumsum(2, dtype=torch.float32)
        mean_BGHK = (sums_BGTD[:, :, -1] / slots).unflatten(-1, (self.heads, -1))
        layer.values[:, :, self.before : self.filled(0)] = mean_BGHK.transpose(1, 2)
        seen_T1 = torch.arange(1, 1 + slots, device=v_BGTD.device)[:, None] + self.before
        y_BGTD = ((sums_BGTD + total_BD[:, None, None]) / seen_T1).to(v_BGTD.dtype)
        if last:  # only the last slot predicts
            x_BGTD, y_BGTD = x_BGTD[:, :, -1:], y_BGTD[:, :, -1:]
        return _finish(layer, x_BGTD.flatten(0, 2), y_BGTD.flatten(0, 2)).view(x_BGTD.shape)

    def _turned(self, layer: Layer, x_RD: Tensor, turns_Q31P: Tensor) -> Tensor:
        """Queries, keys and values (B, Q, 3, H, K), the first two rotated."""
        qkv = F.linear(layer.attention_norm(x_RD), layer.qkv).float()
        pairs = qkv.view(self.batch, -1, 3, self.heads, turns_Q31P.shape[-1], 2)
        turned = torch.view_as_real(torch.view_as_complex(pairs) * turns_Q31P)
        return turned.view(*turned.shape[:4], -1).to(x_RD.dtype)


def _finish(layer: Layer, x_RD: Tensor, y_RD: Tensor) -> Tensor:
    """The rest of a layer after the attention's heads, with the residual sums inside the products."""
    x_RD = torch.addmm(x_RD, y_RD, layer.out)
    normed_RD = layer.ffn_norm(x_RD)
    gated = F.silu(F.linear(normed_RD, layer.gate), inplace=True)
    return torch.addmm(x_RD, gated.mul_(F.linear(normed_RD, layer.up)), layer.down)


def _turns(table_LP2: Tensor, text_slots: int) -> Tensor:
    """Complex factors (M, 1, 3, 1, P) of condition and target positions; values are not rotated."""
    side = (len(table_LP2) - text_slots) // 2
    turns_MP = torch.view_as_complex(torch.cat([table_LP2[:side], table_LP2[-side:]]))
    turns_M3P = torch.stack([turns_MP, turns_MP, torch.ones_like(turns_MP)], 1)
    return turns_M3P[:, None, :, None]


def _bias(before: int, halves: int, length: int, text_slots: int) -> Tensor:
    """What a half adds to its attention logits at each slot, float32 (G, L)."""
    shared_GN = torch.zeros(halves, before)
    own_GG = torch.full((halves, halves), -torch.inf).fill_diagonal_(0.0)
    codes = (length - before) // halves - 1
    return torch.cat([shared_GN, own_GG + log(text_slots), own_GG.repeat(1, codes)], 1)
