"""The two edge detectors that ControlNet++ and ControlAR score: HED, and line drawings.

HED (Xie and Tu 2015) in ControlNet's training: `ControlNetHED.pth` of `lllyasviel/Annotators`. Line drawings (Chan et
al. 2022): `model.pth` of the space `awacke1/Image-to-Line-Drawings`, three residual blocks.
Legend: B pictures, C channels, H × W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editar_bench.evaluators.released import fill, state_of
from editar_bench.types import Picture

HED_WIDTHS = (64, 128, 256, 512, 512)
HED_DEPTHS = (2, 2, 3, 3, 3)


class HedBlock(nn.Module):
    """Convolutions of one scale, and the edges that they see."""

    def __init__(self, inputs: int, outputs: int, depth: int) -> None:
        super().__init__()
        widths = [inputs, *[outputs] * depth]
        pairs = zip(widths[:-1], widths[1:], strict=True)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairs)
        self.projection = nn.Conv2d(outputs, 1, 1)

    def forward(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Features, and edge logits (B, 1, H, W)."""
        for conv in self.convs:
            x_BCHW = F.relu(conv(x_BCHW))
        return x_BCHW, self.projection(x_BCHW)


class _Published(nn.Module):
    @classmethod
    def load(cls, role: str) -> Self:
        """From the published file."""
        network = cls()
        fill(network, {name: tensor.float() for name, tensor in state_of(role).items()}, role)
        return network


class HedEdges(_Published):
    """VGG-16 with an edge map of every scale, averaged before the sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.Parameter(torch.zeros(1, 3, 1, 1))  # the mean color
        inputs = (3, *HED_WIDTHS[:-1])
        for i, sizes in enumerate(zip(inputs, HED_WIDTHS, HED_DEPTHS, strict=True)):
            setattr(self, f"block{i + 1}", HedBlock(*sizes))

    def forward(self, pixels_B3HW: Tensor) -> Tensor:
        """Colors in 0...255 to edge probabilities (B, H, W)."""
        x, maps = pixels_B3HW - self.norm, []
        for i in range(len(HED_WIDTHS)):
            x, edges = getattr(self, f"block{i + 1}")(F.max_pool2d(x, 2) if i else x)
            maps.append(F.interpolate(edges, pixels_B3HW.shape[-2:], mode="bilinear"))
        # Written out as in the published code: a sigmoid that rounds otherwise moves whole gray levels.
        return 1 / (1 + torch.exp(-torch.stack(maps).mean(0)[:, 0]))


class LineBlock(nn.Module):
    """Two convolutions around a skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            *_mirrored(width, width, 3), nn.ReLU(inplace=True), *_mirrored(width, width, 3)
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """To the same shape."""
        out: Tensor = x_BCHW + self.conv_block(x_BCHW)
        return out


class LineDrawing(_Published):
    """Down twice, three residual blocks, up twice; near 1 is paper, near 0 is ink."""

    def __init__(self) -> None:
        super().__init__()
        self.model0 = nn.Sequential(*_mirrored(3, 64, 7), nn.ReLU(inplace=True))
        self.model1 = nn.Sequential(*_down(64, 128), *_down(128, 256))
        self.model2 = nn.Sequential(*(LineBlock(256) for _ in range(3)))
        self.model3 = nn.Sequential(*_up(256, 128), *_up(128, 64))
        self.model4 = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(64, 1, 7), nn.Sigmoid())

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Colors in 0...1 to brightness (B, H, W)."""
        x = self.model2(self.model1(self.model0(images_B3HW)))
        drawing_B1HW: Tensor = self.model4(self.model3(x))
        return drawing_B1HW[:, 0]


def pixels(pictures: Sequence[Picture], device: torch.device | str) -> Tensor:
    """uint8 pictures of one size to (B, 3, H, W) in 0...255."""
    import numpy as np

    return torch.from_numpy(np.stack(pictures)).to(device).permute(0, 3, 1, 2).float()


def _mirrored(inputs: int, outputs: int, size: int) -> list[nn.Module]:
    pad = nn.ReflectionPad2d(size // 2)
    return [pad, nn.Conv2d(inputs, outputs, size), nn.InstanceNorm2d(outputs)]


def _down(inputs: int, outputs: int) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
    return [conv, nn.InstanceNorm2d(outputs), nn.ReLU(inplace=True)]


def _up(inputs: int, outputs: int) -> list[nn.Module]:
    conv = nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1)
    return [conv, nn.InstanceNorm2d(outputs), nn.ReLU(inplace=True)]
