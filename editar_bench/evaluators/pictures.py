"""uint8 pictures to what networks and torchmetrics read.

Legend: B pictures, H × W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from editar_bench.types import Picture


def as_batch(pictures: Sequence[Picture], device: torch.device | str = "cpu") -> Tensor:
    """uint8 (H, W, 3) pictures of one size to float (B, 3, H, W) in [-1, 1]."""
    return as_unit(pictures, device) * 2 - 1


def as_unit(pictures: Sequence[Picture], device: torch.device | str = "cpu") -> Tensor:
    """uint8 (H, W, 3) pictures of one size to float (B, 3, H, W) in [0, 1]."""
    stacked_BHW3 = torch.from_numpy(np.stack(pictures)).to(device)
    return stacked_BHW3.permute(0, 3, 1, 2).float() / 255
