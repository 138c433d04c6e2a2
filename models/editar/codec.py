"""LlamaGen's VQ codec (arXiv 2406.06525), with the module names of the published `vq_ds16_t2i.pt`.

B batch, C code dimensions, N codes a picture, H and W the picture, h and w the code grid (N = h·w).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import isqrt
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editar_bench.errors import UserError
from models.editar.config import check_values, unknown_keys
from models.editar.inputs import check_codes, check_images
from models.editar.multiscale import MultiScaleResidual
from models.editar.quantizer import COMMITMENT, Quantized, Quantizer

# Settings of the published trainer with the one value that this codec has.
_USUAL = {
    "dropout_p": (0.0,),
    "commit_loss_beta": (COMMITMENT,),
    "entropy_loss_ratio": (0.0,),
    "codebook_show_usage": (True, False),  # counted in training only
    "norm_type": ("group",),
    "in_channels": (3,),
    "out_channels": (3,),
    "resamp_with_conv": (True,),
}
_BOTH_SIDES = ("encoder_ch_mult", "decoder_ch_mult")


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecConfig:
    """Shape of a codec; the defaults are the published VQ-16.

    `multiscale` lists the grid sides of the residual pyramid, coarse to fine; None leaves the
    pyramid out.
    """

    ch: int = 128
    ch_mult: tuple[int, ...] = (1, 1, 2, 2, 4)
    encoder_res_blocks: int = 2
    decoder_res_blocks: int = 3
    z_channels: int = 256
    codebook_size: int = 16384
    codebook_embed_dim: int = 8
    codebook_l2_norm: bool = True
    norm_groups: int = 32
    image_size: int = 512
    multiscale: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        check_values(self, "codec")
        if any(self.ch * factor % self.norm_groups for factor in self.ch_mult):
            raise UserError(
                f"codec config: norm_groups {self.norm_groups} does not divide ch {self.ch} times each of ch_mult "
                f"{list(self.ch_mult)}, the channels; change one of them"
            )
        if self.image_size % self.downsampling:
            raise UserError(
                f"codec config: image_size {self.image_size} is no multiple of the downsampling "
                f"{self.downsampling}; change image_size or ch_mult"
            )
        if self.multiscale is None:
            return
        if self.codebook_l2_norm:
            raise UserError(
                "codec config: multiscale needs codebook_l2_norm off, because residuals of unit "
                "vectors are no unit vectors; set codebook_l2_norm to false"
            )
        if self.multiscale[-1] != self.grid:
            raise UserError(
                f"codec config: the last multiscale side is {self.multiscale[-1]} but the code "
                f"grid has side {self.grid}; make them equal"
            )

    @property
    def downsampling(self) -> int:
        """Pixels per code along one side."""
        return int(2 ** (len(self.ch_mult) - 1))

    @property
    def grid(self) -> int:
        """Codes along one side of a picture."""
        return self.image_size // self.downsampling

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CodecConfig:
        """Read the `vq` object of a config.json; keys left out take the published value.

        Of the published trainer's further keys those are read over that say what this codec does anyway.
        """
        settings: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        for name, usual in _USUAL.items():
            if settings.get(name) in usual:
                settings.pop(name, None)
        sides = [settings.get(name) for name in _BOTH_SIDES]
        if sides[0] is not None and sides[0] == sides[1]:
            settings = {k: v for k, v in settings.items() if k not in _BOTH_SIDES}
            settings.setdefault("ch_mult", sides[0])
        unknown = sorted(set(settings) - {field.name for field in fields(cls)})
        if unknown:
            raise unknown_keys("codec", unknown, settings, _USUAL)
        return cls(**settings)


def swish(x: Tensor) -> Tensor:
    """SiLU as published, rounded twice."""
    return x * x.sigmoid()


class ResidualBlock(nn.Module):
    """Twice norm, activation, 3×3 convolution; plus the input (projected where channels change)."""

    def __init__(self, channels_in: int, channels_out: int, groups: int) -> None:
        super().__init__()
        self.norm1 = _norm(channels_in, groups)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.norm2 = _norm(channels_out, groups)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        if channels_in != channels_out:
            self.nin_shortcut = nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels_in, h, w) to (B, channels_out, h, w)."""
        y = self.conv1(swish(self.norm1(x)))
        y = self.conv2(swish(self.norm2(y)))
        return y + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class AttentionBlock(nn.Module):
    """Single-head self-attention over all places of the map, plus the input."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = _norm(channels, groups)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, h, w) to the same shape."""
        y = self.norm(x)
        q_BCM, k_BCM, v_BCM = (f(y).flatten(2) for f in (self.q, self.k, self.v))
        # In the published steps: the fused kernel rounds otherwise, and now and then another code is nearest.
        weight_BMM = (torch.bmm(q_BCM.mT, k_BCM) * q_BCM.shape[1] ** -0.5).softmax(-1)
        return x + self.proj_out(torch.bmm(v_BCM, weight_BMM.mT).view(x.shape))


class Downsample(nn.Module):
    """Halves the map: zeros on the right and bottom edge, then a strided 3×3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, h, w) to (B, channels, h/2, w/2)."""
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Doubles the map: nearest neighbor, then a 3×3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, h, w) to (B, channels, 2h, 2w)."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """The residual blocks of one resolution, with attention after each at the lowest one."""

    def __init__(
        self, channels_in: int, channels: int, blocks: int, groups: int, attention: bool
    ) -> None:
        super().__init__()
        inputs = [channels_in] + [channels] * (blocks - 1)
        self.res = nn.ModuleList(ResidualBlock(c, channels, groups) for c in inputs)
        count = blocks if attention else 0
        self.attn = nn.ModuleList(AttentionBlock(channels, groups) for _ in range(count))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the blocks and, where there is one, the change of resolution after them."""
        for index, block in enumerate(self.res):
            x = block(x)
            if self.attn:
                x = self.attn[index](x)
        for name in ("downsample", "upsample"):
            if hasattr(self, name):
                x = getattr(self, name)(x)
        return x


class Encoder(nn.Module):
    """Picture to feature map."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        groups = config.norm_groups
        widths = [config.ch * m for m in config.ch_mult]
        self.conv_in = nn.Conv2d(3, config.ch, 3, padding=1)
        self.conv_blocks = nn.ModuleList()
        for index, (before, width) in enumerate(zip([config.ch, *widths], widths, strict=False)):
            last = index == len(widths) - 1
            level = Level(before, width, config.encoder_res_blocks, groups, attention=last)
            if not last:
                level.downsample = Downsample(width)
            self.conv_blocks.append(level)
        self.mid = _middle(widths[-1], groups)
        self.norm_out = _norm(widths[-1], groups)
        self.conv_out = nn.Conv2d(widths[-1], config.z_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, z_channels, h, w)."""
        x = self.conv_in(x)
        for block in (*self.conv_blocks, *self.mid):
            x = block(x)
        return self.conv_out(swish(self.norm_out(x)))


class Decoder(nn.Module):
    """Feature map to picture."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        groups = config.norm_groups
        widths = [config.ch * m for m in reversed(config.ch_mult)]
        self.conv_in = nn.Conv2d(config.z_channels, widths[0], 3, padding=1)
        self.mid = _middle(widths[0], groups)
        self.conv_blocks = nn.ModuleList()
        for index, (before, width) in enumerate(zip([widths[0], *widths], widths, strict=False)):
            level = Level(before, width, config.decoder_res_blocks, groups, attention=index == 0)
            if index < len(widths) - 1:
                level.upsample = Upsample(width)
            self.conv_blocks.append(level)
        self.norm_out = _norm(widths[-1], groups)
        self.conv_out = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, z_channels, h, w) to (B, 3, H, W)."""
        x = self.conv_in(x)
        for block in (*self.mid, *self.conv_blocks):
            x = block(x)
        return self.conv_out(swish(self.norm_out(x)))


class Codec(nn.Module):
    """Pictures to codes and back; pictures are float (B, 3, H, W) in [-1, 1]."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        dim = config.codebook_embed_dim
        self.quantize = Quantizer(config.codebook_size, dim, config.codebook_l2_norm)
        self.quant_conv = nn.Conv2d(config.z_channels, dim, 1)
        self.post_quant_conv = nn.Conv2d(dim, config.z_channels, 1)
        if config.multiscale is not None:  # absent otherwise: published files have no such keys
            self.multiscale = MultiScaleResidual(dim, config.multiscale)

    def latents(self, images: Tensor) -> Tensor:
        """Features before quantization and before normalization, (B, C, h, w)."""
        return self.quant_conv(self.encoder(images))

    def quantized(self, codes_BN: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        """The code vectors as a feature map, (B, C, h, w), of a grid of (h, w) codes: without one, of a square."""
        check_codes(codes_BN, "codec", self.config.codebook_size)
        count = codes_BN.shape[1]
        height, width = grid or (isqrt(count), isqrt(count))
        if height * width != count or height < 1:
            raise UserError(
                f"codec: {count} codes make no {f'grid of {height} × {width}' if grid else 'square picture'}; "
                "give N codes of an N = side × side grid, or the grid that they are of"
            )
        return self.quantize.lookup(codes_BN, height, width)

    def reconstruct(self, features_BChw: Tensor) -> Tensor:
        """Decode a quantized feature map to pictures (B, 3, H, W), not clamped."""
        return self.decoder(self.post_quant_conv(features_BChw))

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Code pictures: int64 (B, N), row-major."""
        return self.quantize.nearest(self.latents(check_images(images)))

    @torch.no_grad()
    def decode(self, codes_BN: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        """Pictures (B, 3, H, W) of codes (B, N); nominally in [-1, 1], not clamped.

        `grid` is (h, w) of pictures that are no squares, whose codes are row-major as well.
        """
        return self.reconstruct(self.quantized(codes_BN, grid))

    @torch.no_grad()
    def encode_multiscale(self, images: Tensor) -> list[Tensor]:
        """Code pictures as a residual pyramid: one int64 (B, p_k²) a scale, coarse to fine."""
        codes: list[Tensor] = self.multiscale.encode(self.latents(images), self.quantize)
        return codes

    @torch.no_grad()
    def quantized_multiscale(self, codes: Sequence[Tensor]) -> Tensor:
        """The summed feature map of a pyramid, or of its first scales, (B, C, h, w)."""
        return self.multiscale.partial_sums(codes, self.quantize)[-1]

    @torch.no_grad()
    def decode_multiscale(self, codes: Sequence[Tensor]) -> Tensor:
        """Pictures (B, 3, H, W) of a pyramid, or of its first scales."""
        return self.reconstruct(self.quantized_multiscale(codes))

    def forward(self, images: Tensor, multiscale: bool = False) -> tuple[Tensor, Quantized]:
        """The training forward: reconstruction (B, 3, H, W) and what the quantizer did."""
        z_BChw = self.latents(images)
        quantized = self.multiscale(z_BChw, self.quantize) if multiscale else self.quantize(z_BChw)
        return self.reconstruct(quantized.features_BCHW), quantized


def _norm(channels: int, groups: int) -> nn.GroupNorm:
    return nn.GroupNorm(groups, channels, eps=1e-6)  # taming's epsilon, which weights trained with


def _middle(channels: int, groups: int) -> nn.ModuleList:
    return nn.ModuleList(
        [
            ResidualBlock(channels, channels, groups),
            AttentionBlock(channels, groups),
            ResidualBlock(channels, channels, groups),
        ]
    )
