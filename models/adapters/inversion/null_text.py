"""Null-text inversion (Mokady et al. 2023, arXiv 2211.09794), section 3.3.

Guidance leads away from the empty caption's features. Those are optimized step by step until the guided sampler, from
the last latents of the inversion, comes back along the inversion's own path (algorithm 1).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from models.adapters.inversion.sampler import Sampler

INNER_STEPS = 10


def learning_rate(step: int) -> float:
    """Of Adam at an outer step."""
    return 1e-2 * (1 - step / 100)


def close_enough(step: int) -> float:
    """The mean squared error below which an outer step is done."""
    return 1e-5 + step * 2e-5


def optimized_nulls(
    sampler: Sampler, path: Sequence[Tensor], null_1LW: Tensor, text_1LW: Tensor
) -> list[Tensor]:
    """The features that take the place of the empty caption's, one (1, L, W) a step.

    Args:
        sampler: gives network, times and guidance.
        path: of the inversion, z_0 first.
        null_1LW: the empty caption's features, where the first step begins; each further one begins at the last.
        text_1LW: the source caption's.
    """
    found = []
    latents = path[-1]
    for step, time in enumerate(sampler.times):
        null_1LW = _optimized(sampler, latents, path[-2 - step], step, null_1LW, text_1LW)
        found.append(null_1LW)
        noise = sampler.guided_noise(latents, time, null_1LW, text_1LW)
        latents = sampler.step(noise, time, latents)
    return found


def _optimized(
    sampler: Sampler, latents: Tensor, wanted: Tensor, step: int, null_1LW: Tensor, text_1LW: Tensor
) -> Tensor:
    time = sampler.times[step]
    with_text = sampler.noise(latents, time, text_1LW)
    null_1LW = null_1LW.detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([null_1LW], lr=learning_rate(step))
    for _ in range(INNER_STEPS):
        with torch.enable_grad():
            without = sampler.noise(latents, time, null_1LW)
            guided = without + sampler.guidance * (with_text - without)
            loss = F.mse_loss(sampler.step(guided, time, latents), wanted)
            (null_1LW.grad,) = torch.autograd.grad(loss, null_1LW)
        optimizer.step()
        if loss < close_enough(step):
            break
    return null_1LW.detach()
