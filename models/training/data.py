"""Batches from the bank: pictures as float (B, 3, H, W) in [-1, 1], and the three kinds of condition picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from editar_bench.conditions import SCENES_PALETTE
from models.training.bank import Bank

CONDITIONS = ("depth", "edge", "segmentation")


def to_tensor(pictures_BHW3: NDArray[np.uint8]) -> Tensor:
    """uint8 (B, H, W, 3) to float (B, 3, H, W) in [-1, 1]."""
    x = torch.from_numpy(np.ascontiguousarray(pictures_BHW3)).permute(0, 3, 1, 2).float()
    return x / 127.5 - 1


def to_pictures(images: Tensor) -> NDArray[np.uint8]:
    """The inverse of `to_tensor`, rounded and clamped."""
    x = ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return np.asarray(x.permute(0, 2, 3, 1).cpu().numpy())


def rgb(bank: Bank, rows: Sequence[int] | NDArray[np.int64]) -> Tensor:
    """The pictures of these rows (picture 2 i: source of edit i, 2 i + 1: its target)."""
    return to_tensor(bank.maps["rgb"][np.asarray(rows)])


def condition(bank: Bank, kind: str, rows: Sequence[int] | NDArray[np.int64]) -> Tensor:
    """Condition pictures of one kind, as the tasks show them to a model."""
    rows = np.asarray(rows)
    if kind == "segmentation":
        palette = np.asarray(SCENES_PALETTE, dtype=np.uint8)
        return to_tensor(palette[bank.maps["label"][rows]])
    gray = bank.maps[kind][rows]
    return to_tensor(np.repeat(gray[..., None], 3, axis=-1))


def pick(count: int, n: int, generator: torch.Generator) -> NDArray[np.int64]:
    """N random indices below `count`."""
    return torch.randint(count, (n,), generator=generator).numpy()


def grid(rows: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """A sheet: each entry (n, H, W, 3) becomes one row of pictures."""
    return np.concatenate([np.concatenate(list(row), axis=1) for row in rows], axis=0)
