"""Floating-point operations of a training step, counted operator by operator."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

if TYPE_CHECKING:
    from models.training.recipe import Clock, Recipe


def step_flops(
    recipe: Recipe, module: nn.Module, clock: Clock, generator: torch.Generator
) -> float:
    """Operations of forward and backward pass of one step; module and generator are left as they are.

    A multiplication and an addition count as two, as usual. Matrix products, convolutions and attention are counted, of
    trained and frozen networks alike; the optimizer and what is cached (codes, latents) are not: a first pass over the
    same samples fills the caches before the second one is counted.
    """
    trial = deepcopy(module).train()
    state = generator.get_state()
    with torch.random.fork_rng():
        recipe.loss(trial, clock, _generator(state))
        # As matrix products: the counter does not know every fused kernel.
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            recipe.loss(trial, clock, _generator(state))[0].backward()
    return float(counter.get_total_flops())


def _generator(state: torch.Tensor) -> torch.Generator:
    generator = torch.Generator()
    generator.set_state(state.clone())
    return generator
