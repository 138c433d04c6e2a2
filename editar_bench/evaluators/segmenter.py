"""The segmenter of the scenes suite: class, color and material of every pixel, and features.

Metrics measure perceptual, structural and distributional distances on its features. It judges
models, so it is neither a teacher nor a text encoder of any.
Legend: B pictures, D features, H × W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from editar_bench.evaluators.unet import WIDTHS, TrunkOutput, UNet

CLASSES = 9  # sky, ground and seven shapes
COLORS = 9  # none and eight colors
MATERIALS = 4  # none and three materials
EMBEDDING_DIM = WIDTHS[3]


@dataclass(frozen=True, slots=True)
class SegmenterOutput:
    """Logits per pixel: `label` (B, 9, H, W), `color` (B, 9, H, W), `material` (B, 4, H, W).

    Index 0 of color and material means "none", where no object is.
    """

    label: Tensor
    color: Tensor
    material: Tensor


class Segmenter(nn.Module):
    """One trunk, three heads."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = UNet()
        self.label = nn.Conv2d(WIDTHS[0], CLASSES, 1)
        self.color = nn.Conv2d(WIDTHS[0], COLORS, 1)
        self.material = nn.Conv2d(WIDTHS[0], MATERIALS, 1)

    def forward(self, images_B3HW: Tensor) -> SegmenterOutput:
        """Float pictures in [-1, 1] to logits."""
        return self.read(images_B3HW)[0]

    def read(self, images_B3HW: Tensor) -> tuple[SegmenterOutput, TrunkOutput]:
        """Logits and feature maps from one pass."""
        maps = self.trunk(images_B3HW)
        full = maps.full
        return SegmenterOutput(self.label(full), self.color(full), self.material(full)), maps

    def features(self, images_B3HW: Tensor) -> list[Tensor]:
        """Maps (B, 48, H/2, W/2), (B, 72, H/4, W/4) and (B, 96, H/8, W/8), fine to coarse."""
        out = self.trunk(images_B3HW)
        return [out.half, out.quarter, out.eighth]

    def embedding(self, images_B3HW: Tensor) -> Tensor:
        """One vector a picture, (B, 96): the mean of the coarsest map over the picture."""
        coarse: Tensor = self.trunk.encode(images_B3HW)[3]
        return coarse.mean((2, 3))
