"""The one place where pictures become tensors and tensors pictures. B batch, H height, W width."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from editar_bench.types import Picture


def to_tensor(pictures: Sequence[Picture], device: torch.device | str = "cpu") -> Tensor:
    """Uint8 (H, W, 3) pictures of one size to float32 (B, 3, H, W) in [-1, 1]."""
    stacked_BHW3 = torch.from_numpy(np.array(pictures)).to(device)
    return stacked_BHW3.permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1.0


def to_pictures(images: Tensor) -> list[Picture]:
    """Float (B, 3, H, W), clamped to [-1, 1], to uint8 (H, W, 3) pictures, rounded."""
    levels = (images.float().clamp(-1, 1) + 1) * 127.5
    return list(levels.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy())
