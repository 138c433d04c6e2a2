"""EditAR's sampler: prefill, then one cached step a code, with guidance on the text.

B pictures, R = B or 2B rows (conditional rows, then their null-text twins), N codes, V codebook, L
positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.editar.transformer import LayerCache, Transformer


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerSettings:
    """How codes are drawn, by default as published. Guidance of 1 or less means none."""

    guidance: float = 3.0
    greedy: bool = False
    temperature: float = 1.0
    top_k: int = 1000  # 0: no limit
    top_p: float = 1.0  # 1: no limit


def uniforms_for(seeds: Sequence[int], n: int) -> Tensor:
    """The random numbers of each picture, from its own seed: float32 (B, n) in [0, 1)."""
    below_one = 1.0 - 2.0**-24  # the largest float32 under 1; rounding must not reach 1
    rows = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        rows.append(torch.rand(n, generator=generator, dtype=torch.float64))
    return torch.stack(rows).float().clamp(max=below_one)


@torch.no_grad()
def sample(
    model: Transformer,
    text: Tensor,
    condition_codes: Tensor,
    settings: SamplerSettings,
    uniforms_BN: Tensor | None = None,
) -> Tensor:
    """Make the codes of the target pictures: int64 (B, N), row-major.

    Args:
        model: in eval mode.
        text: encoder features (B, T, caption_dim).
        condition_codes: int64 (B, N), row-major.
        settings: guidance and filters.
        uniforms_BN: random numbers, one a code (`uniforms_for`); not needed when greedy.
    """
    if model.training:
        raise RuntimeError("sampling needs the model in eval mode")
    if uniforms_BN is None and not settings.greedy:
        raise ValueError("sampling that is not greedy needs uniforms; see uniforms_for")
    if uniforms_BN is None:
        uniforms_BN = torch.zeros(condition_codes.shape)
    uniforms_NB1 = uniforms_BN.to(text.device).T.unsqueeze(-1).double()

    # 1. Rows: with guidance every picture runs twice, with its text and with the null text.
    rows = 2 if settings.guidance > 1.0 else 1
    prefix_RLD = embed_rows(model, text, condition_codes, rows)

    # 2. Prefill: condition codes and text in one pass; the last text slot predicts the first code.
    caches = new_caches(model, prefix_RLD)
    hidden_RD = model.hidden(prefix_RLD, caches)[:, -1]

    # 3. One code at a time, the same code for both rows of a picture.
    codes_NB = torch.empty_like(condition_codes.T)
    for i in range(model.config.block_size):
        logits_BV = guide(model.output(hidden_RD).float(), settings.guidance)
        codes_NB[i] = choose(logits_BV, settings, uniforms_NB1[i])
        if i + 1 < model.config.block_size:
            token_R1D = model.tok_embeddings(codes_NB[i].repeat(rows))[:, None]
            hidden_RD = model.hidden(token_R1D, caches, model.config.prefix_length + i)[:, -1]
    return codes_NB.T.contiguous()


def embed_rows(model: Transformer, text: Tensor, condition_codes: Tensor, rows: int) -> Tensor:
    """Input vectors (R, N + T, D) of the conditional rows and, for two, of the null-text rows.

    The null-text rows see the condition picture too.
    """
    drop_text_R = torch.arange(rows * len(text), device=text.device) >= len(text)
    keep_image_R = torch.zeros_like(drop_text_R)
    return model.embed_prefix(
        text.repeat(rows, 1, 1), condition_codes.repeat(rows, 1), drop_text_R, keep_image_R
    )


def new_caches(model: Transformer, prefix_RLD: Tensor) -> list[LayerCache]:
    """Room for the keys and values of a whole sequence, in the input's dtype and device."""
    config = model.config
    length = config.prefix_length + config.block_size - 1  # the last code is never read
    shape = (len(prefix_RLD), config.n_head, length, config.head_dim)
    return [
        LayerCache(prefix_RLD.new_empty(shape), prefix_RLD.new_empty(shape)) for _ in model.layers
    ]


def guide(logits_RV: Tensor, guidance: float) -> Tensor:
    """Classifier-free guidance: from the null-text logits to, and past, the conditional ones."""
    if guidance <= 1.0:  # then there are no null-text rows
        return logits_RV
    conditional_BV, null_BV = logits_RV.chunk(2)
    return null_BV + guidance * (conditional_BV - null_BV)


def choose(logits_BV: Tensor, settings: SamplerSettings, uniform_B1: Tensor) -> Tensor:
    """One code a row, int64 (B,): the best one, or drawn after temperature, top-k and top-p."""
    if settings.greedy:
        return logits_BV.argmax(-1)
    logits_BV = logits_BV / max(settings.temperature, 1e-5)
    logits_BV = keep_top_k(logits_BV, settings.top_k)
    logits_BV = keep_top_p(logits_BV, settings.top_p)
    return draw(logits_BV.softmax(-1), uniform_B1)


def keep_top_k(logits_BV: Tensor, k: int) -> Tensor:
    """Rule out everything below the k-th largest logit; ties with it survive."""
    if k <= 0 or k >= logits_BV.shape[-1]:
        return logits_BV
    least_B1 = logits_BV.topk(k, dim=-1).values[:, -1:]
    return logits_BV.masked_fill(logits_BV < least_B1, -torch.inf)


def keep_top_p(logits_BV: Tensor, p: float) -> Tensor:
    """Rule out what comes after the likeliest codes that together first exceed probability p."""
    if p >= 1.0:
        return logits_BV
    sorted_BV, order_BV = logits_BV.sort(-1, descending=True)
    mass_BV = sorted_BV.softmax(-1).cumsum(-1)
    beyond_BV = mass_BV > p
    # The code that crosses the threshold stays, and so does always the first.
    beyond_BV = torch.cat([torch.zeros_like(beyond_BV[:, :1]), beyond_BV[:, :-1]], -1)
    return logits_BV.masked_fill(beyond_BV.scatter(-1, order_BV, beyond_BV), -torch.inf)


def draw(probabilities_BV: Tensor, uniform_B1: Tensor) -> Tensor:
    """Invert the cumulative distribution at a uniform number: int64 (B,).

    In float64, so that a number just under 1 never reaches past the last possible code.
    """
    mass_BV = probabilities_BV.double().cumsum(-1)
    return torch.searchsorted(mass_BV, uniform_B1 * mass_BV[:, -1:], right=True).squeeze(-1)
