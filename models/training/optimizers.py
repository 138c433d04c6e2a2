"""The optimizers of every recipe: Muon for the matrices inside where the recipe wants it, AdamW for the rest."""

from __future__ import annotations

import time
from functools import cache

import torch
from torch import nn

from models.training.machine import Optimizers
from models.training.muon import Muon, hidden_matrices
from models.training.recipe import Recipe

MUON_LEARNING_RATE = (
    0.02  # of every recipe's hidden matrices; a recipe's own rate is AdamW's, for the rest
)
BETAS = (0.9, 0.95)
WEIGHT_DECAY = 0.05  # on tensors of two or more dimensions


@cache
def faster_in_bf16(device: str) -> bool:
    """Whether this device multiplies matrices faster in bfloat16: GPUs do, CPUs only with units made for it."""

    def seconds(dtype: torch.dtype) -> float:
        a = torch.ones(
            1024, 1024, device=device, dtype=dtype
        )  # no draw: runs must not depend on it
        best = float("inf")
        for _ in range(4):  # the first only warms up
            start = time.perf_counter()
            float((a @ a)[0, 0])  # reading a value waits for the device
            best = min(best, time.perf_counter() - start)
        return best

    return seconds(torch.bfloat16) < seconds(torch.float32)


def make_optimizers(module: nn.Module, recipe: Recipe, device: str) -> Optimizers:
    """Muon for the hidden matrices, if the recipe wants it, and AdamW for everything else.

    Each group keeps its undiminished rate under "full_lr".
    """
    hidden = hidden_matrices(module) if recipe.muon else []
    known = {id(p) for p in hidden}
    rest = [p for p in module.parameters() if p.requires_grad and id(p) not in known]
    groups = [
        {"params": [p for p in rest if p.ndim >= 2], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizers: Optimizers = [torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=BETAS)]
    if hidden:
        dtype = torch.bfloat16 if faster_in_bf16(device) else torch.float32
        optimizers.append(Muon(hidden, MUON_LEARNING_RATE, dtype))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["full_lr"] = group["lr"]
    return optimizers
