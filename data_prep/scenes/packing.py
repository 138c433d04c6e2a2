"""Scene descriptions as tensors, one row a scene: what the renderer computes with.

Legend: B scenes, O object slots.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from data_prep.scenes.description import (
    CELL_SPACING,
    COLORS,
    GROUNDS,
    MATERIALS,
    MAX_OBJECTS,
    PATTERNS,
    ROTATION_STEPS,
    SHAPES,
    SIZES,
    SKIES,
    STYLES,
    Scene,
    SceneObject,
)


@dataclass(frozen=True, slots=True)
class Packed:
    """Objects, surroundings, camera and light of scenes; codes are places in the lists of `description`."""

    shape_BO: Tensor  # -1 = empty slot
    color_BO: Tensor
    material_BO: Tensor
    pattern_BO: Tensor
    center_BO3: Tensor
    half_BO: Tensor
    angle_BO: Tensor
    ground_B: Tensor
    sky_B: Tensor
    style_B: Tensor
    azimuth_B: Tensor
    height_B: Tensor
    focal_B: Tensor
    sun_B3: Tensor
    strength_B: Tensor


def object_center(item: SceneObject) -> tuple[float, float]:
    """Where an object stands in the viewer's frame, meters."""
    return (
        (item.column - 1) * CELL_SPACING + item.jitter[0],
        (item.row - 1) * CELL_SPACING + item.jitter[1],
    )


def pack(scenes: Sequence[Scene], dtype: torch.dtype, device: torch.device | str) -> Packed:
    """Scenes as tensors of a type on a device."""
    colors = list(COLORS)
    rows: list[list[list[float]]] = []
    codes: list[list[list[int]]] = []
    for scene in scenes:
        items = scene.objects
        blanks = MAX_OBJECTS - len(items)
        codes.append(
            [
                [
                    SHAPES.index(o.shape),
                    colors.index(o.color),
                    MATERIALS.index(o.material),
                    PATTERNS.index(o.pattern),
                ]
                for o in items
            ]
            + [[-1, 0, 0, 0]] * blanks
        )
        turn = 2 * math.pi / ROTATION_STEPS
        rows.append(
            [[*object_center(o), SIZES[o.size], o.rotation * turn] for o in items]
            + [[0.0, 0.0, 1.0, 0.0]] * blanks
        )
    code_BO4 = torch.tensor(codes, device=device)
    real_BO4 = torch.tensor(rows, dtype=dtype, device=device)
    center_BO3 = torch.cat([real_BO4[..., :2], torch.zeros_like(real_BO4[..., :1])], -1)

    def floats(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=dtype, device=device)

    def integers(values: list[int]) -> Tensor:
        return torch.tensor(values, device=device)

    # The light is fixed to the world, which appears turned by the camera's azimuth.
    bearing_B = floats([s.light.azimuth + s.camera.azimuth for s in scenes])
    elevation_B = floats([s.light.elevation for s in scenes])
    sun_B3 = torch.stack(
        [
            elevation_B.cos() * bearing_B.cos(),
            elevation_B.cos() * bearing_B.sin(),
            elevation_B.sin(),
        ],
        -1,
    )
    return Packed(
        code_BO4[..., 0],
        code_BO4[..., 1],
        code_BO4[..., 2],
        code_BO4[..., 3],
        center_BO3,
        real_BO4[..., 2],
        real_BO4[..., 3],
        integers([GROUNDS.index(s.ground) for s in scenes]),
        integers([SKIES.index(s.sky) for s in scenes]),
        integers([STYLES.index(s.style) for s in scenes]),
        floats([s.camera.azimuth for s in scenes]),
        floats([s.camera.height for s in scenes]),
        floats([s.camera.focal for s in scenes]),
        sun_B3,
        floats([s.light.strength for s in scenes]),
    )
