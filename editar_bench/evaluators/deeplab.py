"""DeepLabV3 with ResNet-101 (Chen et al. 2017) on COCO-Stuff, as mmsegmentation publishes it.

Weights: its file `deeplabv3_r101-d8_512x512_4x4_320k_coco-stuff164k_20210709_155402-3cbca14d.pth`. The network is that
of mmsegmentation's configuration: a stem of three convolutions, the last two stages dilated instead of strided, five
branches of context. The auxiliary head only served its training.
Legend: B pictures, C channels, K classes, h × w positions at 1/8, H × W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editar_bench.errors import UserError
from editar_bench.evaluators.checkpoints import read_checkpoint
from editar_bench.evaluators.opencv_resize import short_side
from editar_bench.evaluators.sources import SOURCES, local_copy, missing
from editar_bench.types import Picture

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # of colors in 0...255
CLASSES = 171
WIDTH = 512  # channels of the head
DILATIONS = (1, 12, 24, 36)


class DeepLabV3(nn.Module):
    """Pictures to classes."""

    def __init__(self, classes: int = CLASSES) -> None:
        from torchvision.models import resnet101

        super().__init__()
        # torchvision's first block of a dilated stage keeps the dilation of the stage before, as mmsegmentation's does.
        backbone = resnet101(weights=None, replace_stride_with_dilation=[False, True, True])
        backbone.conv1 = nn.Sequential(
            *_stem(3, 32, stride=2), *_stem(32, 32), *_stem(32, 64, last=True)
        )
        backbone.bn1 = nn.BatchNorm2d(64)
        backbone.avgpool = backbone.fc = nn.Identity()
        self.backbone = backbone
        self.head = ContextHead(2048, classes)

    @classmethod
    def load(cls, role: str) -> Self:
        """From the published file."""
        path = local_copy(SOURCES[role])
        if path is None:
            raise missing(role)
        network = cls()
        try:
            network.load_state_dict(renamed(read_checkpoint(path)))
        except RuntimeError as error:
            raise UserError(
                f"The weights {path} belong to another network; fetch the published file."
            ) from error
        return network

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Normalized pictures to logits (B, K, h, w)."""
        net = self.backbone
        x = net.maxpool(net.relu(net.bn1(net.conv1(images_B3HW))))
        x = net.layer4(net.layer3(net.layer2(net.layer1(x))))
        logits: Tensor = self.head(x)
        return logits

    def classes(self, pictures: Sequence[Picture], side: int) -> Tensor:
        """uint8 pictures of one size, shown with a short side of `side`, to every pixel's class (B, H, W)."""
        device = next(self.parameters()).device
        images_B3hw = normalized([short_side(picture, side) for picture in pictures], device)
        logits = self(images_B3hw)
        for size in (images_B3hw.shape[-2:], pictures[0].shape[:2]):
            if logits.shape[-2:] != size:
                logits = F.interpolate(logits, size, mode="bilinear", align_corners=False)
        return logits.argmax(1)


class ContextHead(nn.Module):
    """Atrous spatial pyramid pooling: four dilated branches and the mean of the picture, then classes."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.pool = _conv(inputs, WIDTH, 1)
        self.branches = nn.ModuleList(
            _conv(inputs, WIDTH, 1 if dilation == 1 else 3, dilation) for dilation in DILATIONS
        )
        self.merge = _conv(WIDTH * (len(DILATIONS) + 1), WIDTH, 3)
        self.classify = nn.Conv2d(WIDTH, classes, 1)

    def forward(self, x_BChw: Tensor) -> Tensor:
        """To logits (B, K, h, w)."""
        mean_BC11 = self.pool(x_BChw.mean((2, 3), keepdim=True))
        parts = [mean_BC11.expand(-1, -1, *x_BChw.shape[-2:])]
        parts += [branch(x_BChw) for branch in self.branches]
        logits: Tensor = self.classify(self.merge(torch.cat(parts, 1)))
        return logits


def normalized(pictures: Sequence[Picture], device: torch.device | str) -> Tensor:
    """uint8 pictures (H, W, 3) of one size as mmsegmentation's networks read them, (B, 3, H, W)."""
    import numpy as np

    pixels_BHW3 = torch.from_numpy(np.stack(pictures)).to(device).float()
    mean, std = (pixels_BHW3.new_tensor(values) for values in (MEAN, STD))
    return ((pixels_BHW3 - mean) / std).permute(0, 3, 1, 2)


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """From mmsegmentation's names to this file's; the auxiliary head is dropped."""
    rules = (
        ("backbone.stem.7.", "backbone.bn1."),
        ("backbone.stem.", "backbone.conv1."),
        ("decode_head.image_pool.1.", "head.pool."),
        ("decode_head.aspp_modules.", "head.branches."),
        ("decode_head.bottleneck.", "head.merge."),
        ("decode_head.conv_seg.", "head.classify."),
    )
    out = {}
    for name, tensor in state.items():
        if name.startswith("auxiliary_head."):
            continue
        old, new = next((rule for rule in rules if name.startswith(rule[0])), ("", ""))
        out[new + name.removeprefix(old)] = tensor
    return out


def _stem(inputs: int, outputs: int, *, stride: int = 1, last: bool = False) -> list[nn.Module]:
    """A convolution, and what follows it unless it is the last one, which torchvision's own layers follow."""
    conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return [conv] if last else [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def _conv(inputs: int, outputs: int, size: int, dilation: int = 1) -> nn.Sequential:
    """Convolution, normalization, activation; the first two under mmsegmentation's names."""
    block = nn.Sequential()
    padding = dilation if size == 3 else 0
    conv = nn.Conv2d(inputs, outputs, size, padding=padding, dilation=dilation, bias=False)
    block.add_module("conv", conv)
    block.add_module("bn", nn.BatchNorm2d(outputs))
    block.add_module("activate", nn.ReLU(inplace=True))
    return block
