"""Batches from the bank: pictures as float (B, 3, H, W) in [-1, 1], and the three kinds of condition picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from editar_bench.conditions import palette_picture
from models.editar.pictures import Pictures, to_tensor
from models.training.bank import Bank

CONDITIONS = ("depth", "edge", "segmentation")
CONDITION_SHARE = 1 / 3  # of the pictures that a codec is trained on
OBJECT_WEIGHT = 10.0  # of pixels of objects, and of edges in edge pictures, in a codec's loss


def rgb(bank: Bank, rows: Sequence[int] | NDArray[np.int64]) -> Tensor:
    """The pictures of these rows (picture 2 i: source of edit i, 2 i + 1: its target)."""
    return to_tensor(bank.maps["rgb"][np.asarray(rows)])


def captions(bank: Bank, rows: Sequence[int] | NDArray[np.int64]) -> list[str]:
    """What the pictures of these rows show, in words."""
    return [bank.texts[row // 2]["captions"][row % 2] for row in rows]


def condition(bank: Bank, kind: str, rows: Sequence[int] | NDArray[np.int64]) -> Tensor:
    """Condition pictures of one kind, as the tasks show them to a model."""
    rows = np.asarray(rows)
    if kind == "segmentation":
        return to_tensor(palette_picture(bank.maps["label"][rows]))
    gray = bank.maps[kind][rows]
    return to_tensor(np.repeat(gray[..., None], 3, axis=-1))


def pick(count: int, n: int, generator: torch.Generator) -> NDArray[np.int64]:
    """N random indices below `count`."""
    indices: NDArray[np.int64] = torch.randint(count, (n,), generator=generator).numpy()
    return indices


def mixed_batch(bank: Bank, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pictures (B, 3, H, W), a third of them condition pictures, and their pixel weights (B, 1, H, W).

    Pixels of objects weigh more; in edge pictures it is the edges. The kind of each condition picture is drawn, so that
    small batches leave no kind out.
    """
    rows = pick(2 * len(bank), size, generator)
    conditions, pictures = np.split(rows, [round(size * CONDITION_SHARE)])
    kinds = pick(len(CONDITIONS), len(conditions), generator)
    images, marked = [rgb(bank, pictures)], [bank.maps["label"][pictures] >= 2]
    for index, kind in enumerate(CONDITIONS):
        part = conditions[kinds == index]
        images.append(condition(bank, kind, part))
        marked.append(
            bank.maps["edge"][part] > 0 if kind == "edge" else bank.maps["label"][part] >= 2
        )
    weight = 1 + (OBJECT_WEIGHT - 1) * torch.from_numpy(np.concatenate(marked)).float()[:, None]
    return torch.cat(images).contiguous(memory_format=torch.channels_last), weight


def grid(rows: Sequence[Pictures]) -> NDArray[np.uint8]:
    """A sheet: each entry (n, H, W, 3) becomes one row of pictures."""
    return np.concatenate([np.concatenate(list(row), axis=1) for row in rows], axis=0)
