"""EditAR's sampler step for step as published: the slow side of the benchmark and the truth of the tests.

Doubled rows for guidance, caches of full length that every step reads whole under a boolean mask,
positions as tensors, the probabilities of every step kept. R rows, H heads, L cache length, K head
width, Q new positions, V codebook.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.editar.racing import head_starts, keys_of
from models.editar.rotary import rotate
from models.editar.sampler import SamplerSettings
from models.editar.transformer import Block, Transformer

Draw = Callable[[Tensor, int], Tensor]  # probabilities (B, V) and the code's index to codes (B, 1)


def multinomial(probabilities_BV: Tensor, index: int) -> Tensor:
    return torch.multinomial(probabilities_BV, num_samples=1)


def by_uniforms(uniforms_BN: Tensor) -> Draw:
    """Who wins the race at given numbers, so that two samplers can be compared."""
    keys_BN = keys_of(uniforms_BN)

    def draw(probabilities_BV: Tensor, index: int) -> Tensor:
        ahead_BV = head_starts(keys_BN[:, index], probabilities_BV.shape[-1])
        return (probabilities_BV.log() + ahead_BV).argmax(-1, keepdim=True)

    return draw


class PlainSampler:
    """Caches and mask for a number of rows; `generate` makes them anew for each call, as published."""

    def __init__(self, model: Transformer, rows: int) -> None:
        config = model.config
        length = config.prefix_length + config.block_size
        length += -length % 8
        shape = (rows, config.n_head, length, config.head_dim)
        weight = model.tok_embeddings.weight
        self.model = model
        self.caches = [(weight.new_zeros(shape), weight.new_zeros(shape)) for _ in model.layers]
        square = torch.ones(length, length, dtype=torch.bool, device=weight.device)
        self.mask_RLL = square.tril().repeat(rows, 1, 1)

    def logits(self, x_RQD: Tensor, positions_Q: Tensor) -> Tensor:
        """Logits of the last position, float32 (R, V)."""
        mask_R1QL = self.mask_RLL[:, None, positions_Q]
        table_QP2 = self.model.rotary[positions_Q]
        for layer, cache in zip(self.model.layers, self.caches, strict=True):
            x_RQD = self.block(layer, cache, x_RQD, table_QP2, mask_R1QL, positions_Q)
        return self.model.output(self.model.norm(x_RQD)).float()[:, -1]

    def block(
        self,
        layer: Block,
        cache: tuple[Tensor, Tensor],
        x_RQD: Tensor,
        table_QP2: Tensor,
        mask_R1QL: Tensor,
        positions_Q: Tensor,
    ) -> Tensor:
        attention = layer.attention
        qkv = attention.wqkv(layer.attention_norm(x_RQD)).split(x_RQD.shape[-1], -1)
        heads = (attention.n_head, attention.head_dim)
        q, k, v = (part.unflatten(-1, heads).transpose(1, 2) for part in qkv)
        keys, values = cache
        keys[:, :, positions_Q] = rotate(k, table_QP2)
        values[:, :, positions_Q] = v
        y = F.scaled_dot_product_attention(rotate(q, table_QP2), keys, values, mask_R1QL)
        x_RQD = x_RQD + attention.wo(y.transpose(1, 2).flatten(2))
        return x_RQD + layer.feed_forward(layer.ffn_norm(x_RQD))


def pick(
    logits_BV: Tensor, settings: SamplerSettings, draw: Draw, index: int
) -> tuple[Tensor, Tensor]:
    """Codes (B, 1) and the probabilities they come from."""
    logits_BV = logits_BV / max(settings.temperature, 1e-5)
    if settings.top_k > 0:
        least_B1 = logits_BV.topk(min(settings.top_k, logits_BV.shape[-1]))[0][..., -1, None]
        logits_BV[logits_BV < least_B1] = -torch.inf
    if settings.top_p < 1.0:
        sorted_BV, order_BV = logits_BV.sort(descending=True)
        beyond_BV = sorted_BV.softmax(-1).cumsum(-1) > settings.top_p
        beyond_BV[..., 1:] = beyond_BV[..., :-1].clone()
        beyond_BV[..., 0] = False
        logits_BV[beyond_BV.scatter(1, order_BV, beyond_BV)] = -torch.inf
    probabilities_BV = logits_BV.softmax(-1)
    if settings.greedy:
        return probabilities_BV.topk(1)[1], probabilities_BV
    return draw(probabilities_BV, index), probabilities_BV


@torch.no_grad()
def generate(
    model: Transformer,
    text: Tensor,
    condition_codes: Tensor,
    settings: SamplerSettings,
    draw: Draw = multinomial,
    steps: int | None = None,
) -> Tensor:
    """Codes int64 (B, N), as `models.editar.sampler.sample` makes them; only the first `steps`, to time those."""
    rows = 2 if settings.guidance > 1.0 else 1
    drop_text_R = torch.arange(rows * len(text), device=text.device) >= len(text)
    prefix_RQD = model.embed_prefix(
        text.repeat(rows, 1, 1),
        condition_codes.repeat(rows, 1),
        drop_text_R,
        torch.zeros_like(drop_text_R),
    )
    sampler = PlainSampler(model, len(prefix_RQD))
    positions = torch.arange(prefix_RQD.shape[1], device=text.device)
    x_RQD = prefix_RQD
    codes, kept = [], []
    for index in range(steps or model.config.block_size):
        # As published: for every step after the prefill, the reading of the code included.
        with sdpa_kernel(SDPBackend.MATH) if index else nullcontext():
            logits_RV = sampler.logits(x_RQD, positions)
            if rows == 2:
                conditional_BV, null_BV = logits_RV.chunk(2)
                logits_RV = conditional_BV.clone()
                if settings.cfg_interval < 0 or index - 1 <= settings.cfg_interval:
                    logits_RV = null_BV + settings.guidance * (conditional_BV - null_BV)
            code_B1, probabilities_BV = pick(logits_RV, settings, draw, index)
        codes.append(code_B1.clone())
        kept.append(probabilities_BV.clone())
        x_RQD = model.tok_embeddings(code_B1.repeat(rows, 1))
        positions = positions[-1:] + 1
    return torch.cat(codes, 1)
