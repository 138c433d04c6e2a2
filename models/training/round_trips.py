"""How well a codec or an autoencoder gives back pictures and condition pictures of the bank: figures and a sheet."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from editar_bench.types import Picture
from models.editar.pictures import to_pictures
from models.training.bank import Bank
from models.training.data import CONDITIONS, condition, grid, rgb

RoundTrip = Callable[[Tensor], Tensor]  # pictures (B, 3, H, W) in [-1, 1] to the same on the CPU
_PICTURES, _MAPS, _SHOWN = 96, 48, 8


def _rows(bank: Bank, count: int = _PICTURES) -> NDArray[np.int64]:
    """The first target pictures of a bank."""
    return np.arange(min(count, len(bank))) * 2 + 1


def object_psnr(bank: Bank, round_trip: RoundTrip) -> dict[str, float]:
    """PSNR of whole pictures and of their objects."""
    rows = _rows(bank)
    images = rgb(bank, rows)
    inside = torch.from_numpy(bank.maps["label"][rows] >= 2)[:, None].expand_as(images)
    restored = round_trip(images)
    return {
        "psnr": psnr(restored, images),
        "psnr_objects": psnr(restored[inside], images[inside]),
    }


def condition_psnr(bank: Bank, round_trip: RoundTrip) -> dict[str, float]:
    """PSNR of each kind of condition picture."""
    figures = {}
    for kind in CONDITIONS:
        maps = condition(bank, kind, _rows(bank, _MAPS))
        figures[f"psnr_{kind}"] = psnr(round_trip(maps), maps)
    return figures


def sheet(bank: Bank, round_trip: RoundTrip) -> Picture:
    """Per kind of picture a line of originals and one of their round trips."""
    rows = _rows(bank, _SHOWN)
    lines: list[Sequence[Picture]] = []
    for images in (rgb(bank, rows), *(condition(bank, kind, rows) for kind in CONDITIONS)):
        lines += [to_pictures(images), to_pictures(round_trip(images))]
    return grid(lines)


def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal to noise ratio in dB of pictures in [-1, 1], `a` clamped to that range."""
    error = (a.clamp(-1, 1) - b).square().mean()
    return float(10 * torch.log10(4 / error))
