"""The one place where pictures become tensors and tensors pictures. B batch, H height, W width."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from editar_bench.types import Picture

# As published: in float64, then rounded to float32.
_LEVELS = (torch.arange(256, dtype=torch.float64) / 255 * 2 - 1).float()
Pictures = Sequence[Picture] | NDArray[np.uint8]  # of one size


def to_tensor(pictures: Pictures, device: torch.device | str = "cpu") -> Tensor:
    """Uint8 (H, W, 3) pictures of one size to float32 (B, 3, H, W) in [-1, 1]."""
    stacked_BHW3 = torch.from_numpy(np.array(pictures)).to(device)
    return _LEVELS.to(device)[stacked_BHW3.permute(0, 3, 1, 2).int()].contiguous()


def to_pictures(images: Tensor, *, truncate: bool = False) -> list[Picture]:
    """Float (B, 3, H, W), clamped to [-1, 1], to uint8 (H, W, 3) pictures, rounded unless they are to be truncated."""
    clamped = images.float().clamp(-1, 1)
    # In the order of the published script and of torchvision's save_image: the last bit may decide.
    levels = (clamped + 1) / 2 * 255 + (0.0 if truncate else 0.5)
    return list(levels.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy())


def fit(picture: Picture, side: int) -> Picture:
    """Scale the short side to `side` (Lanczos) and cut out the middle: uint8 (side, side, 3).

    As published for training and sampling alike (EditAR's data sets, arXiv 2501.04699); a picture
    that has the size is returned as it is.
    """
    height, width = picture.shape[:2]
    if (height, width) == (side, side):
        return picture
    from PIL import Image

    scale = side / min(height, width)
    size = (max(side, round(width * scale)), max(side, round(height * scale)))
    scaled = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))
    top, left = (size[1] - side) // 2, (size[0] - side) // 2
    return np.ascontiguousarray(scaled[top : top + side, left : left + side])
