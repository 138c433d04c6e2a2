"""DINO (Caron et al. 2021) as the editing benchmarks read it: keys of the last block, and the class feature.

Weights: `facebookresearch/dino` (its file names its tensors as timm does) or timm's copy on the hub.
Legend: B pictures, T tokens (the class token first), D width, H × W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms.functional import normalize, resize

from editar_bench.evaluators.pictures import as_unit
from editar_bench.evaluators.released import fill, state_of
from editar_bench.types import Picture

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SHORT_SIDE, LONG_SIDE = 224, 480  # pixels, of the structure distance
COSINE_EPS = 1e-8  # the least product of two lengths


class Dino(nn.Module):
    """A DINO vision transformer."""

    ARCHITECTURE: ClassVar[str]

    def __init__(self, vit: nn.Module) -> None:
        super().__init__()
        self.vit = vit

    @classmethod
    def load(cls, role: str) -> Self:
        """From the published weights of a role."""
        import timm

        state = state_of(role)
        with torch.device("meta"):  # no random start that the weights replace
            vit = timm.create_model(cls.ARCHITECTURE, pretrained=False, num_classes=0)
        fill(vit, state, role)
        return cls(vit)

    def keys(self, images_B3HW: Tensor) -> Tensor:
        """Keys of the last block, heads joined: normalized pictures to (B, T, D).

        The rest of that block is not computed.
        """
        vit = self.vit
        x_BTD = vit.norm_pre(self._tokens(images_B3HW))
        for block in vit.blocks[:-1]:
            x_BTD = block(x_BTD)
        last = vit.blocks[-1]
        _, keys_BTD, _ = last.attn.qkv(last.norm1(x_BTD)).chunk(3, dim=-1)
        return keys_BTD.contiguous()

    def _tokens(self, images_B3HW: Tensor) -> Tensor:
        """Class token and patches with their positions, (B, T, D); pixels that fill no patch are left out."""
        vit = self.vit
        height, width = images_B3HW.shape[-2:]
        if (height, width) == vit.patch_embed.img_size:
            usual_BTD: Tensor = vit._pos_embed(vit.patch_embed(images_B3HW))
            return usual_BTD
        patches_BDhw = vit.patch_embed.proj(images_B3HW)
        class_B1D = vit.cls_token.expand(len(images_B3HW), -1, -1)
        positions_1TD = self.positions(*patches_BDhw.shape[-2:])
        return torch.cat([class_B1D, patches_BDhw.flatten(2).mT], 1) + positions_1TD

    def positions(self, height: int, width: int) -> Tensor:
        """The positions of the class token and of another grid of patches, (1, T, D), by DINO's own enlargement.

        It adds a tenth of a patch to the sides, against rounding in the scale, and so moves the places a little.
        """
        table_1TD = self.vit.pos_embed
        side, _ = self.vit.patch_embed.grid_size
        grid_1Dhw = table_1TD[:, 1:].mT.unflatten(2, (side, side))
        scale = ((height + 0.1) / side, (width + 0.1) / side)
        large_1Dhw = nn.functional.interpolate(grid_1Dhw, scale_factor=scale, mode="bicubic")
        return torch.cat([table_1TD[:, :1], large_1Dhw.flatten(2).mT], 1)

    def class_feature(self, images_B3HW: Tensor) -> Tensor:
        """The class token after the last norm: normalized pictures to (B, D)."""
        feature_BD: Tensor = self.vit(images_B3HW)
        return feature_BD


class DinoVitB8(Dino):
    """PIE-Bench's."""

    ARCHITECTURE = "vit_base_patch8_224"


class DinoVitS16(Dino):
    """MagicBrush's."""

    ARCHITECTURE = "vit_small_patch16_224"


def structure_input(
    pictures: Sequence[Picture], device: torch.device | str, *, peak: float
) -> Tensor:
    """uint8 pictures of one size to what the structure distance shows DINO: (B, 3, h, w).

    Args:
        pictures: (H, W, 3).
        device: of the result.
        peak: the value of white before ImageNet's mean and deviation: 255 as PIE-Bench has it, which forgot to
            divide, or 1.
    """
    scaled_B3HW = as_unit(pictures, device) * 255 * (peak / 255)
    # torchvision 0.13, which made the published numbers, does not smooth a tensor that it shrinks.
    small = resize(scaled_B3HW, [SHORT_SIDE], max_size=LONG_SIDE, antialias=False)
    return normalize(small, list(IMAGENET_MEAN), list(IMAGENET_STD))


def class_input(pictures: Sequence[Picture], device: torch.device | str) -> Tensor:
    """uint8 pictures of any sizes to (B, 3, 224, 224): short side 256 by PIL's bicubic, center crop."""
    from editar_bench.evaluators.pil_resize import short_side_crop

    cropped = [short_side_crop(picture, 256, 224) for picture in pictures]
    return normalize(as_unit(cropped, device), list(IMAGENET_MEAN), list(IMAGENET_STD))


def self_similarity(keys_TD: Tensor) -> Tensor:
    """Cosines of all pairs of tokens, (T, T)."""
    length_T = keys_TD.norm(dim=-1)
    product_TT = (length_T[:, None] * length_T[None, :]).clamp(min=COSINE_EPS)
    return (keys_TD @ keys_TD.T) / product_TT


def structure_distance(a_TD: np.ndarray, b_TD: np.ndarray, device: str = "cpu") -> float:
    """Mean squared difference of the self-similarities of two pictures' keys (Tumanyan et al. 2022)."""
    a, b = (self_similarity(torch.from_numpy(keys).to(device)) for keys in (a_TD, b_TD))
    return float((a - b).square().mean())
