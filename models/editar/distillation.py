"""EditAR's feature distillation: hidden states learn to agree with a frozen picture encoder.

B batch, N = side² hidden states a picture, D their width, P = (side/2)² patches, C the teacher's
width.
"""

from __future__ import annotations

from math import isqrt

import torch.nn.functional as F
from torch import Tensor, nn

DISTILLATION_WEIGHT = 0.5  # of the squared error beside the cross-entropy, in the paper


class Alignment(nn.Conv2d):
    """The 2×2 convolution from hidden states to teacher patches.

    Attach it as `transformer.alignment` to save it under the released names `alignment.weight` and
    `.bias`; it is used in training only.
    """

    def __init__(self, dim: int, teacher_dim: int = 768) -> None:
        super().__init__(dim, teacher_dim, kernel_size=2, stride=2)

    def forward(self, hidden_BND: Tensor) -> Tensor:
        """Student features (B, P, C), row-major."""
        side = isqrt(hidden_BND.shape[1])
        map_BDhw = hidden_BND.transpose(1, 2).unflatten(-1, (side, side))
        return super().forward(map_BDhw).flatten(2).transpose(1, 2)


def distillation_loss(alignment: Alignment, hidden_BND: Tensor, teacher_BPC: Tensor) -> Tensor:
    """Mean squared error, a scalar, between student and (detached) teacher features."""
    return F.mse_loss(alignment(hidden_BND).float(), teacher_BPC.detach().float())
