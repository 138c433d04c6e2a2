"""The transformer's forward pass for sampling: a prefill, then a few codes a step from static caches.

Exact algebra on the published forward pass, no approximation:

- The condition picture comes before the text and attention is causal, so both guidance halves share
  its keys and values: they are computed, stored and read once.
- The rotary table makes queries and keys of text zero. A text query thus weighs all it sees alike
  (its attention is a running mean of values), and in every later softmax the T text slots of a half
  act as one slot with logit log T and the mean value.

A step looks nothing up and waits for nothing on the host; what it does besides products is
`models.editar.attending`, or the kernels of a GPU.

B pictures, G guidance halves (text, then null text; 1 without guidance), W codes read at once, N
codes a picture, T text slots, L cache slots, H heads, K head width, D width, R rows of any kind, V
codebook.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models.editar import kernels, products
from models.editar.attending import Attention, TorchAttention
from models.editar.cache import LayerCache, Layout
from models.editar.precision import Precision
from models.editar.products import Product
from models.editar.transformer import Block, RMSNorm, Transformer

# Up to so many bytes of weights a CPU keeps a second copy, in the order that it reads fastest.
COPIED = 2**26


class Norm(NamedTuple):
    """A root-mean-square norm, ready to be computed in few kernels."""

    weight: Tensor
    eps: float
    floor: Tensor  # √(D·eps): the length is lifted to it

    @classmethod
    def of(cls, norm: RMSNorm) -> Norm:
        """Take the weight of a module."""
        wide = torch.promote_types(norm.weight.dtype, torch.float32)
        floor = norm.weight.new_tensor((len(norm.weight) * norm.eps) ** 0.5, dtype=wide)
        return cls(norm.weight, norm.eps, floor)

    def __call__(self, x: Tensor) -> Tensor:
        """Normalize over the last axis, in float32 or wider; the dtype of x is kept."""
        if x.is_cuda:
            return F.rms_norm(x, x.shape[-1:], self.weight, self.eps)
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=self.floor.dtype)
        root = torch.hypot(length, self.floor).mul_(x.shape[-1] ** -0.5)
        return (x / root).to(x.dtype) * self.weight


class Layer(NamedTuple):
    """Weights of one layer."""

    attention_norm: Norm
    qkv: Product
    out: Product
    ffn_norm: Norm
    gate: Product
    up: Product
    down: Product

    @classmethod
    def of(cls, block: Block, product: Callable[[Tensor], Product]) -> Layer:
        """Take the weights of a module."""
        attention, ffn = block.attention, block.feed_forward
        return cls(
            attention_norm=Norm.of(block.attention_norm),
            qkv=product(attention.wqkv.weight),
            out=product(attention.wo.weight),
            ffn_norm=Norm.of(block.ffn_norm),
            gate=product(ffn.w1.weight),
            up=product(ffn.w3.weight),
            down=product(ffn.w2.weight),
        )


def copies(model: Transformer) -> bool:
    """Whether a decoder keeps copies of the model's weights, which a change in place leaves behind."""
    weights = list(model.parameters())
    # Changes of inference tensors are not counted, so that a copy could be out of date.
    counted = all(w.device.type == "cpu" and not w.is_inference() for w in weights)
    return counted and sum(w.nbytes for w in weights) <= COPIED


class Decoder:
    """A transformer's weights, seen or copied, and room for the keys and values of one batch.

    It may be used for one batch after another, and never holds the transformer itself. The prefill
    always has the model's own weights; `precision` is for the steps.

    Args:
        model: in eval mode.
        batch: B.
        halves: G.
        precision: how steps keep weights and cache.
        fused: whether steps use the kernels; by default wherever they run.
    """

    def __init__(
        self,
        model: Transformer,
        batch: int,
        halves: int,
        precision: Precision | None = None,
        fused: bool | None = None,
    ) -> None:
        c, like = model.config, model.tok_embeddings.weight
        precision = precision or Precision()
        self.fused = kernels.available(like.device) if fused is None else fused
        own = products.copied if copies(model) else products.viewed
        self.tok_embeddings, self.output = model.tok_embeddings, own(model.output.weight)
        self.cls_embedding, self.null_image_ND = model.cls_embedding, model.img_uncond_embedding
        self.batch, self.halves, self.heads = batch, halves, c.n_head
        self.layout = Layout.of(c, halves)
        self.prefilling = TorchAttention(model, self.layout, batch)
        self.attention: Attention = self.prefilling
        self.gated: Callable[[Tensor, Tensor], Tensor] = products.gated
        few_bits: Callable[..., Product] = products.rounded
        if self.fused:
            from models.editar.kernels import attention
            from models.editar.kernels import products as fused_products

            self.attention = attention.KernelAttention(model, self.layout, batch)
            self.gated, few_bits = fused_products.gated, fused_products.FewBits
        self.layers = self.step_layers = [Layer.of(block, own) for block in model.layers]
        self.text_values = [block.attention.wqkv.weight.chunk(3)[2] for block in model.layers]
        if precision.weights != "full":
            product = partial(few_bits, kind=precision.weights)
            self.step_layers = [Layer.of(block, product) for block in model.layers]
        shape = (2, batch, c.n_head, self.layout.length, c.head_dim)
        eighth = precision.cache == "fp8"
        self.caches = [LayerCache(shape, like, eighth, self.fused) for _ in model.layers]
        self.norm = Norm.of(model.norm)

    def prefill(
        self, text: Tensor, condition_codes: Tensor, drop_image_B: Tensor | None = None
    ) -> Tensor:
        """Fill the cache with condition and text; logits (B, G, V) of the first code, float32."""
        self.narrow(len(text))
        image_BND = self.tok_embeddings(condition_codes)
        if drop_image_B is not None:
            null_ND = self.null_image_ND.to(image_BND)
            image_BND = torch.where(drop_image_B[:, None, None], null_ND, image_BND)
        text_BGTD = self._embed_text(text).to(image_BND.dtype)
        for i, (layer, cache) in enumerate(zip(self.layers, self.caches, strict=True)):
            last = layer is self.layers[-1]
            image_BND, total_BD = self._prefill_image(layer, cache, image_BND, last)
            v_BGTD = F.linear(layer.attention_norm(text_BGTD), self.text_values[i])
            text_BGTD = self._prefill_text(layer, cache, text_BGTD, v_BGTD, total_BD, last)
        return self.output(self.norm(text_BGTD[:, :, -1])).float()

    def step(self, codes_BW: Tensor, places_BW: Tensor, length: int) -> Tensor:
        """Read W codes at given places of each picture; logits of those that follow each.

        Args:
            codes_BW: int64.
            places_BW: int64, everything before them read; a tensor, so that nothing waits for the
                device.
            length: how many slots to look at, at least all that are `layout.filled`; kernels see
                for themselves.

        Returns:
            (B, W, G, V), in the model's type.
        """
        attend = self.attention.begin(places_BW, length)
        x_RD = self.tok_embeddings(codes_BW.flatten().repeat_interleave(self.halves))
        for layer, cache in zip(self.step_layers, self.caches, strict=True):
            y_RD = attend(cache, layer.qkv(layer.attention_norm(x_RD)))
            x_RD = self._finish(layer, x_RD, y_RD, self.gated)
        return self.output(self.norm(x_RD)).view(*codes_BW.shape, self.halves, -1)

    def narrow(self, pictures: int) -> None:
        """From now on steps are of the first so many pictures; a prefill needs and makes it whole again."""
        for cache in self.caches:
            cache.narrow(pictures)

    def move(self, source: int, target: int) -> None:
        """Give one picture the place of another, which is lost."""
        for cache in self.caches:
            cache.move(source, target)

    def _embed_text(self, text: Tensor) -> Tensor:
        """Input vectors (B, G, T, D) of the text and, for two halves, of the null text."""
        null_TC = self.cls_embedding.uncond_embedding
        own_BTD = self.cls_embedding.cap_proj(text.to(null_TC.dtype))
        if self.halves == 1:
            return own_BTD[:, None]
        return torch.stack([own_BTD, self.cls_embedding.cap_proj(null_TC).expand_as(own_BTD)], 1)

    def _prefill_image(
        self, layer: Layer, cache: LayerCache, x_BND: Tensor, last: bool
    ) -> tuple[Tensor, Tensor]:
        """One layer over the condition codes; also the sum (B, D) of their values, float32."""
        flat_RD = x_BND.flatten(0, 1)
        turns_N131P = self.prefilling.turns_M131P[: self.layout.before, 0]
        qkv_RD = layer.qkv(layer.attention_norm(flat_RD))
        turned_BN3HK = self.prefilling.turned(len(x_BND), qkv_RD, turns_N131P)
        q_BHNK, k_BHNK, v_BHNK = turned_BN3HK.permute(2, 0, 3, 1, 4)
        cache.begin(k_BHNK, v_BHNK)
        total_BD = v_BHNK.sum(2, dtype=torch.float32).flatten(1)
        if last:  # nobody reads what the condition becomes after it
            return x_BND, total_BD
        y_BHNK = F.scaled_dot_product_attention(q_BHNK, k_BHNK, v_BHNK, is_causal=True)
        y_RD = y_BHNK.transpose(1, 2).reshape(flat_RD.shape)
        return self._finish(layer, flat_RD, y_RD, products.gated).view_as(x_BND), total_BD

    def _prefill_text(
        self,
        layer: Layer,
        cache: LayerCache,
        x_BGTD: Tensor,
        v_BGTD: Tensor,
        total_BD: Tensor,
        last: bool,
    ) -> Tensor:
        """One layer over the text slots of both halves, which need values, but no queries and no keys."""
        slots, before = x_BGTD.shape[2], self.layout.before
        sums_BGTD = v_BGTD.cumsum(2, dtype=torch.float32)
        mean_BGHK = (sums_BGTD[:, :, -1] / slots).unflatten(-1, (self.heads, -1))
        cache.put_text(before, mean_BGHK.transpose(1, 2))
        seen_T1 = torch.arange(1, 1 + slots, device=v_BGTD.device)[:, None] + before
        y_BGTD = ((sums_BGTD + total_BD[:, None, None]) / seen_T1).to(v_BGTD.dtype)
        if last:  # only the last slot predicts
            x_BGTD, y_BGTD = x_BGTD[:, :, -1:], y_BGTD[:, :, -1:]
        flat = (x_BGTD.flatten(0, 2), y_BGTD.flatten(0, 2))
        return self._finish(layer, *flat, products.gated).view(x_BGTD.shape)

    @staticmethod
    def _finish(
        layer: Layer, x_RD: Tensor, y_RD: Tensor, gated: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        """The rest of a layer after the attention's heads; x is overwritten."""
        x_RD = layer.out.onto(x_RD, y_RD)
        normed_RD = layer.ffn_norm(x_RD)
        return layer.down.onto(x_RD, gated(layer.gate(normed_RD), layer.up(normed_RD)))
