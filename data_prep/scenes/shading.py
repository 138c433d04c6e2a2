"""What a surface looks like: grounds, skies, patterns, materials and picture styles.

Pure functions of tensors, linear RGB.

Legend: N points, B scenes; the last axis 3 is RGB or xyz. Per-point scene attributes are integer tensors of shape (N,).
"""

from __future__ import annotations

import torch
from torch import Tensor

from data_prep.scenes.description import COLORS

# horizon, zenith, sun color, ambient strength, in the order of SKIES (clear, cloudy, sunset, night)
_HORIZON = ((0.66, 0.82, 0.96), (0.72, 0.74, 0.77), (0.98, 0.55, 0.25), (0.16, 0.18, 0.36))
_ZENITH = ((0.18, 0.42, 0.86), (0.52, 0.56, 0.62), (0.36, 0.22, 0.46), (0.02, 0.03, 0.12))
_SUN = ((1.0, 0.97, 0.90), (0.75, 0.77, 0.80), (1.0, 0.78, 0.58), (0.62, 0.68, 0.92))
_AMBIENT = (0.42, 0.55, 0.40, 0.36)
# two tones of each ground, in the order of GROUNDS (grass, sand, snow, tiles)
_GROUND_A = ((0.16, 0.40, 0.10), (0.78, 0.62, 0.38), (0.86, 0.89, 0.94), (0.62, 0.60, 0.58))
_GROUND_B = ((0.26, 0.52, 0.14), (0.68, 0.52, 0.30), (0.78, 0.82, 0.90), (0.26, 0.25, 0.27))
_TEXTURE_REACH = 9.0  # meters over which ground texture fades out, before it would alias
_CLOUDY = 1  # index into SKIES
_PATTERN_SCALE = 1.1  # periods per half extent
GAMMA = 1 / 1.6


def sky_tables(like: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Horizon, zenith and sun colors (4, 3) and ambient strengths (4,) with the dtype and device of `like`."""
    return (
        like.new_tensor(_HORIZON),
        like.new_tensor(_ZENITH),
        like.new_tensor(_SUN),
        like.new_tensor(_AMBIENT),
    )


def sky_color(direction: Tensor, sky_M: Tensor, turn_M: Tensor) -> Tensor:
    """Color of the sky along unit directions (M, ..., 3); `turn_M` (radians) turns the clouds with the camera."""
    horizon, zenith, _, _ = sky_tables(direction)
    shape = (-1,) + (1,) * (direction.ndim - 2)
    up = direction[..., 2:].clamp(0, 1).pow(0.6)
    color = torch.lerp(horizon[sky_M].view(*shape, 3), zenith[sky_M].view(*shape, 3), up)
    cloudy = (sky_M == _CLOUDY).nonzero()[:, 0]
    x, y, rise = direction[cloudy].unbind(-1)
    angle = torch.atan2(y, x) - turn_M[cloudy].view(shape)
    cloud = torch.sin(3 * angle + 9 * rise) * torch.sin(14 * rise + 2 * angle)
    color[cloudy] += 0.35 * cloud.clamp(0, 1)[..., None] * (0.95 - color[cloudy])
    return color


def _patches(x: Tensor, y: Tensor) -> Tensor:
    return 0.5 + 0.5 * torch.sin(2.1 * x + torch.sin(1.3 * y)) * torch.sin(1.7 * y)


def _ripples(x: Tensor, y: Tensor) -> Tensor:
    return 0.5 + 0.5 * torch.sin(4.0 * x + 1.2 * torch.sin(1.1 * y))


def _drifts(x: Tensor, y: Tensor) -> Tensor:
    return 0.5 + 0.5 * torch.sin(0.9 * x + 0.7 * y)


def _tiles(x: Tensor, y: Tensor) -> Tensor:
    return torch.remainder(torch.floor(x) + torch.floor(y), 2)


_TEXTURES = (_patches, _ripples, _drifts, _tiles)  # in the order of GROUNDS


def ground_mix(x: Tensor, y: Tensor, ground_B: Tensor, turn_B: Tensor) -> Tensor:
    """Share of a ground's second tone at viewer-frame points (B, ...).

    Texture is fixed to the world, which the camera's azimuth `turn_B` turns.
    """
    shape = (-1,) + (1,) * (x.ndim - 1)
    cos, sin = turn_B.cos().view(shape), turn_B.sin().view(shape)
    world_x, world_y = cos * x + sin * y, cos * y - sin * x
    mix = torch.empty_like(world_x)
    for index, texture in enumerate(_TEXTURES):
        rows = (ground_B == index).nonzero()[:, 0]
        mix[rows] = texture(world_x[rows], world_y[rows])
    return mix


def fade_texture(mix: Tensor, distance: Tensor) -> Tensor:
    """Pull a texture to its mean with distance (meters), before it would alias."""
    return 0.5 + (mix - 0.5) * (1 - distance / _TEXTURE_REACH).clamp(0, 1)


def ground_tones(like: Tensor) -> tuple[Tensor, Tensor]:
    """The two tones of each ground, (4, 3) each."""
    return like.new_tensor(_GROUND_A), like.new_tensor(_GROUND_B)


def ground_mean(like: Tensor) -> Tensor:
    """Mean albedo of each ground (4, 3), what a mirror sees below the horizon."""
    return 0.5 * (like.new_tensor(_GROUND_A) + like.new_tensor(_GROUND_B))


def object_albedo(local_N3: Tensor, color_N: Tensor, pattern_N: Tensor) -> Tensor:
    """Albedo at points in the object's own frame: the base color, or the pattern's second tone."""
    palette = local_N3.new_tensor(list(COLORS.values()))
    base_N3 = palette[color_N]
    white_index = list(COLORS).index("white")
    second_N3 = torch.where((color_N == white_index)[:, None], 0.25 * base_N3, 0.25 * base_N3 + 0.7)
    scaled_N3 = local_N3 * _PATTERN_SCALE
    stripes_N = torch.remainder(scaled_N3[:, 2] + 0.6 * scaled_N3[:, 0], 1.0) > 0.5
    # The offsets keep cell borders away from the flat faces at z = 0 and x, y = ±0.75.
    checks_N = torch.remainder(torch.floor(scaled_N3 + 0.27).sum(-1), 2) > 0.5
    dots_N = (torch.remainder(scaled_N3 + 0.15, 1.0) - 0.5).square().sum(-1) < 0.13
    off_N = torch.zeros_like(dots_N)
    picked_N = torch.stack([off_N, stripes_N, checks_N, dots_N]).gather(0, pattern_N[None])[0]
    return torch.where(picked_N[:, None], second_N3, base_N3)


def shade_object(
    albedo_N3: Tensor,
    material_N: Tensor,
    normal_N3: Tensor,
    view_N3: Tensor,
    light_N3: Tensor,
    mirror_N3: Tensor,
) -> Tensor:
    """Outgoing color. `light_N3` is the incoming diffuse light, `mirror_N3` what the mirrored view ray sees."""
    facing_N1 = -(normal_N3 * view_N3).sum(-1, keepdim=True)
    rubber_N3 = albedo_N3 * light_N3
    metal_N3 = (0.15 + 0.95 * albedo_N3) * mirror_N3 + 0.35 * rubber_N3
    glow_N3 = (0.12 + albedo_N3) * (0.75 + 0.25 * facing_N1.clamp(0, 1)) * 1.05
    stacked = torch.stack([rubber_N3, metal_N3, glow_N3])
    return stacked.gather(0, material_N[None, :, None].expand(1, -1, 3))[0]


def apply_style(rgb_B3HW: Tensor, style_B: Tensor) -> Tensor:
    """Finish of the whole picture (values in [0, 1]) in the order of STYLES: photo, faded, poster, pastel, nocturne."""

    def tint(red: float, green: float, blue: float) -> Tensor:
        return rgb_B3HW.new_tensor([red, green, blue])[:, None, None]

    gray = rgb_B3HW.mean(1, keepdim=True)
    faded = (0.50 * rgb_B3HW + 0.50 * gray) * tint(0.86, 0.74, 0.58) + 0.12
    vivid = (gray + 1.4 * (rgb_B3HW - gray)).clamp(0, 1)
    poster = torch.floor(vivid * 3.999) / 3
    pastel = 0.55 * rgb_B3HW + 0.45
    nocturne = rgb_B3HW * tint(0.42, 0.50, 0.80)
    finishes = torch.stack([rgb_B3HW, faded, poster, pastel, nocturne])
    return finishes[style_B, torch.arange(len(style_B), device=style_B.device)]
