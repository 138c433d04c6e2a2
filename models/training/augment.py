"""What evaluators are hardened against: blur, noise, JPEG and resizing. Never the output of a model or codec."""

from __future__ import annotations

import io

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from models.editar.pictures import to_pictures, to_tensor

_UNTOUCHED = 0.4  # share of pictures that stay as rendered


def degrade(images: Tensor, generator: torch.Generator) -> Tensor:
    """Apply one random degradation to most pictures of a batch (B, 3, H, W) in [-1, 1]."""
    out = []
    for image in images:
        kind, amount = (float(u) for u in torch.rand(2, generator=generator))
        if kind < _UNTOUCHED:
            out.append(image)
            continue
        change = (_blur, _noise, _jpeg, _resize)[int((kind - _UNTOUCHED) / (1 - _UNTOUCHED) * 4)]
        out.append(change(image, amount, generator))
    return torch.stack(out)


def _blur(image: Tensor, amount: float, _: torch.Generator) -> Tensor:
    sigma = 0.3 + 0.9 * amount
    x = torch.arange(-3.0, 4.0)
    kernel = torch.exp(-x.square() / (2 * sigma * sigma))
    kernel = kernel / kernel.sum()
    weight = (kernel[:, None] * kernel).expand(3, 1, 7, 7)
    return F.conv2d(F.pad(image[None], (3, 3, 3, 3), mode="reflect"), weight, groups=3)[0]


def _noise(image: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    return (image + 0.15 * amount * torch.randn(image.shape, generator=generator)).clamp(-1, 1)


def _jpeg(image: Tensor, amount: float, _: torch.Generator) -> Tensor:
    buffer = io.BytesIO()
    Image.fromarray(to_pictures(image[None])[0]).save(buffer, "JPEG", quality=int(30 + 65 * amount))
    return to_tensor(np.asarray(Image.open(buffer))[None])[0]


def _resize(image: Tensor, amount: float, _: torch.Generator) -> Tensor:
    size = image.shape[-1]
    small = max(8, int(size * (0.5 + 0.5 * amount)))
    shrunk = F.interpolate(image[None], (small, small), mode="bilinear", antialias=True)
    return F.interpolate(shrunk, (size, size), mode="bicubic")[0].clamp(-1, 1)
