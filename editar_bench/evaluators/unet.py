"""The U-Net under the dense evaluators: small enough for two cores, any size divisible by eight.

Legend: B pictures, C channels, H × W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (24, 48, 72, 96)  # channels at 1, 1/2, 1/4 and 1/8 of the resolution
GROUPS = 8
STRIDE = 8  # pictures are divisible by it


@dataclass(frozen=True, slots=True)
class TrunkOutput:
    """What the trunk says about a picture.

    `half` (B, 48, H/2, W/2) has seen little context, `quarter` (B, 72, H/4, W/4) and `eighth`
    (B, 96, H/8, W/8) the whole picture; `full` (B, 24, H, W) is what heads read.
    """

    half: Tensor
    quarter: Tensor
    eighth: Tensor
    full: Tensor


class ConvBlock(nn.Module):
    """Normalize, activate, convolve."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, inputs)
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) to (B, outputs, H/stride, W/stride)."""
        out: Tensor = self.conv(F.silu(self.norm(x_BCHW)))
        return out


class Residual(nn.Module):
    """Two convolutions around a skip; `context` adds what the whole picture looks like."""

    def __init__(self, width: int, context: bool = False) -> None:
        super().__init__()
        self.first = ConvBlock(width, width)
        self.second = ConvBlock(width, width)
        self.context = nn.Linear(width, width) if context else None

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        h_BCHW = self.first(x_BCHW)
        if self.context is not None:
            h_BCHW = h_BCHW + self.context(F.silu(h_BCHW).mean((2, 3)))[:, :, None, None]
        out: Tensor = x_BCHW + self.second(h_BCHW)
        return out


class Up(nn.Module):
    """Double the resolution, add the skip, refine."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(inputs, outputs, 1)
        self.refine = ConvBlock(outputs, outputs)

    def forward(self, x_BCHW: Tensor, skip_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) and a skip (B, outputs, 2H, 2W) to the skip's shape."""
        projected = self.project(x_BCHW)
        raised = F.interpolate(projected, scale_factor=2.0, mode="bilinear", align_corners=False)
        merged = raised + skip_BCHW
        out: Tensor = merged + self.refine(merged)
        return out


class UNet(nn.Module):
    """About half a million parameters. Input: float (B, 3, H, W) in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        full, half, quarter, eighth = WIDTHS
        self.stem = nn.Conv2d(5, full, 3, padding=1)  # colors and the two coordinates
        self.down_half = nn.Sequential(ConvBlock(full, half, 2), Residual(half))
        self.down_quarter = nn.Sequential(ConvBlock(half, quarter, 2), Residual(quarter))
        self.down_eighth = nn.Sequential(
            ConvBlock(quarter, eighth, 2), Residual(eighth, context=True)
        )
        self.up_quarter = Up(eighth, quarter)
        self.up_half = Up(quarter, half)
        self.up_full = Up(half, full)
        self.norm = nn.GroupNorm(GROUPS, full)

    def encode(self, images_B3HW: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Maps at 1, 1/2, 1/4 and 1/8 of the resolution, before any of them is refined."""
        height, width = images_B3HW.shape[-2:]
        if height % STRIDE or width % STRIDE:
            raise ValueError(f"a picture of {width}×{height} pixels is not divisible by {STRIDE}")
        full = self.stem(torch.cat([images_B3HW, _coordinates(images_B3HW)], 1))
        half = self.down_half(full)
        quarter = self.down_quarter(half)
        return full, half, quarter, self.down_eighth(quarter)

    def forward(self, images_B3HW: Tensor) -> TrunkOutput:
        """Pictures to feature maps."""
        full, half, quarter, eighth = self.encode(images_B3HW)
        quarter_up = self.up_quarter(eighth, quarter)
        full_up = self.up_full(self.up_half(quarter_up, half), full)
        return TrunkOutput(half, quarter_up, eighth, F.silu(self.norm(full_up)))


def _coordinates(images_B3HW: Tensor) -> Tensor:
    """(B, 2, H, W): x and y of pixel centers in (-1, 1); how far the ground is depends on y."""
    batch, _, height, width = images_B3HW.shape
    like = {"device": images_B3HW.device, "dtype": images_B3HW.dtype}
    y_H = (torch.arange(height, **like) + 0.5) / height * 2 - 1
    x_W = (torch.arange(width, **like) + 0.5) / width * 2 - 1
    both_2HW = torch.stack([x_W.expand(height, width), y_H[:, None].expand(height, width)])
    return both_2HW.expand(batch, 2, height, width)
