"""The depth estimator of the scenes suite.

Legend: B pictures, H × W pixels.
"""

from __future__ import annotations

from torch import Tensor, nn

from editar_bench.evaluators.unet import WIDTHS, UNet


class DepthEstimator(nn.Module):
    """Inverse depth with the suite's fixed near and far: 1 at near, 0 at far and in the sky.

    The scale is absolute; there is no alignment to the truth afterwards.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trunk = UNet()
        self.head = nn.Conv2d(WIDTHS[0], 1, 1)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Float pictures in [-1, 1] to inverse depth (B, H, W) in [0, 1]."""
        logits_B1HW: Tensor = self.head(self.trunk(images_B3HW).full)
        return logits_B1HW[:, 0].sigmoid()
