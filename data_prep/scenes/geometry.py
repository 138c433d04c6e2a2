"""Shapes as intersections of half-spaces and one quadric, and the ray test that follows from it.

In its own frame an object stands on z = 0 and has half extent 1. Every shape is the set of points p with n·p
<= d for a few planes and q·(p − m)² <= k for a diagonal quadric q; a ray is inside for one interval of its
parameter, so the hit is the larger of the entry parameters. Legend: K pixels that may show an object, S rays
a pixel, F faces.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data_prep.scenes.description import SHAPES

_FLOOR = (0.0, 0.0, -1.0, 0.0)
_Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class _Shape:
    planes: tuple[tuple[float, float, float, float], ...]  # (nx, ny, nz, d)
    quadric: tuple[_Triple, _Triple, float] | None  # (q, m, k)
    radius: float  # of a sphere about (0, 0, 0.9) that holds the shape


def _box(half: float, height: float) -> tuple[tuple[float, float, float, float], ...]:
    sides = ((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0))
    return (*((x, y, 0.0, half) for x, y in sides), (0.0, 0.0, 1.0, height), _FLOOR)


_PYRAMID_HALF, _PYRAMID_HEIGHT = 0.85, 1.9
_TENT_HALF, _TENT_HEIGHT = 0.85, 1.5
_SHAPES = {
    "cube": _Shape(_box(0.75, 1.5), None, 1.40),
    "ball": _Shape((), ((1.0, 1.0, 1.0), (0.0, 0.0, 1.0), 1.0), 1.12),
    "cylinder": _Shape(
        ((0.0, 0.0, 1.0, 1.8), _FLOOR), ((1.0, 1.0, 0.0), (0.0, 0.0, 0.0), 0.64), 1.22
    ),
    "cone": _Shape(
        ((0.0, 0.0, 1.0, 2.0), _FLOOR), ((1.0, 1.0, -0.2256), (0.0, 0.0, 2.0), 0.0), 1.33
    ),
    "pyramid": _Shape(
        (
            *(
                (x / _PYRAMID_HALF, y / _PYRAMID_HALF, 1 / _PYRAMID_HEIGHT, 1.0)
                for x, y in ((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0))
            ),
            _FLOOR,
        ),
        None,
        1.52,
    ),
    "dome": _Shape((_FLOOR,), ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), 1.0), 1.36),
    "prism": _Shape(
        (
            (1 / _TENT_HALF, 0.0, 1 / _TENT_HEIGHT, 1.0),
            (-1 / _TENT_HALF, 0.0, 1 / _TENT_HEIGHT, 1.0),
            (0.0, 1.0, 0.0, 0.85),
            (0.0, -1.0, 0.0, 0.85),
            _FLOOR,
        ),
        None,
        1.52,
    ),
}


def bounding_radii(like: Tensor) -> Tensor:
    """Radius of each shape's bounding sphere about (0, 0, 0.9), in half extents, in the order of SHAPES."""
    return like.new_tensor([_SHAPES[name].radius for name in SHAPES])


def intersect(
    origin_KS3: Tensor, direction_KS3: Tensor, shape_K: Tensor, *, normals: bool = True
) -> tuple[Tensor, Tensor | None]:
    """Entry parameter (K, S) of each ray into its object (inf = miss), and the outward normal there (K, S, 3).

    Rays are in object frames; either argument may have one entry along S. Without `normals` none are made.
    """
    n_rays = max(origin_KS3.shape[1], direction_KS3.shape[1])
    depth_KS = origin_KS3.new_full((len(shape_K), n_rays), torch.inf)
    normal_KS3 = origin_KS3.new_zeros((*depth_KS.shape, 3)) if normals else None
    for index, name in enumerate(SHAPES):
        k = (shape_K == index).nonzero()[:, 0]
        if not len(k):
            continue
        depth, normal = _enter(origin_KS3[k], direction_KS3[k], _SHAPES[name], normals)
        depth_KS[k] = depth
        if normal_KS3 is not None and normal is not None:
            normal_KS3[k] = normal
    return depth_KS, normal_KS3


def _enter(
    origin_KS3: Tensor, direction_KS3: Tensor, shape: _Shape, normals: bool
) -> tuple[Tensor, Tensor | None]:
    """`intersect` for rays that all meet the same shape."""
    near_KS, far_KS = _inside_quadric(origin_KS3, direction_KS3, shape)
    entry_KS, exit_KS = near_KS, far_KS
    if shape.planes:
        planes_F4 = origin_KS3.new_tensor(shape.planes)
        speed_KSF = direction_KS3 @ planes_F4[:, :3].T
        slack_KSF = planes_F4[:, 3] - origin_KS3 @ planes_F4[:, :3].T
        # A ray parallel to a face divides by zero: +inf where it is inside for ever, -inf where it never is, as wanted.
        cut_KSF = slack_KSF / speed_KSF
        outward_KSF = speed_KSF >= 0
        face_entry_KS, face_KS = cut_KSF.masked_fill(outward_KSF, -torch.inf).max(-1)
        face_exit_KS = cut_KSF.masked_fill(~outward_KSF, torch.inf).amin(-1)
        entry_KS = torch.maximum(near_KS, face_entry_KS)
        exit_KS = torch.minimum(far_KS, face_exit_KS)
    depth_KS = entry_KS.masked_fill(~((entry_KS < exit_KS) & (entry_KS > 1e-4)), torch.inf)
    if not normals:
        return depth_KS, None
    normal_KS3 = torch.zeros_like(direction_KS3.expand(*depth_KS.shape, 3))
    if shape.planes:
        normal_KS3 = planes_F4[:, :3][face_KS]
    if shape.quadric is not None:
        q_3, m_3 = origin_KS3.new_tensor(shape.quadric[0]), origin_KS3.new_tensor(shape.quadric[1])
        point_KS3 = origin_KS3 + depth_KS.nan_to_num(posinf=0.0)[..., None] * direction_KS3
        curved_KS = depth_KS == near_KS
        normal_KS3 = torch.where(curved_KS[..., None], q_3 * (point_KS3 - m_3), normal_KS3)
    return depth_KS, normal_KS3 / normal_KS3.norm(dim=-1, keepdim=True).clamp_min(1e-12)


def _inside_quadric(
    origin_KS3: Tensor, direction_KS3: Tensor, shape: _Shape
) -> tuple[Tensor, Tensor]:
    """The interval of each ray inside the shape's quadric, everything where it has none, empty on a miss."""
    blank_KS = (origin_KS3[..., 0] + direction_KS3[..., 0]) * 0
    if shape.quadric is None:
        return blank_KS - torch.inf, blank_KS + torch.inf
    q_3, m_3 = origin_KS3.new_tensor(shape.quadric[0]), origin_KS3.new_tensor(shape.quadric[1])
    relative_KS3 = origin_KS3 - m_3
    scaled_KS3 = q_3 * direction_KS3
    a_KS = (scaled_KS3 * direction_KS3).sum(-1)
    b_KS = (scaled_KS3 * relative_KS3).sum(-1)
    c_KS = (q_3 * relative_KS3 * relative_KS3).sum(-1) - shape.quadric[2]
    discriminant_KS = b_KS * b_KS - a_KS * c_KS
    root_KS = discriminant_KS.clamp_min(0).sqrt()
    # A ray along a cylinder's axis has a = 0; a tiny a moves both ends so far out that the caps decide.
    a_KS = torch.where(a_KS.abs() < 1e-12, torch.full_like(a_KS, 1e-12), a_KS)
    first_KS, second_KS = (-b_KS - root_KS) / a_KS, (-b_KS + root_KS) / a_KS
    low_KS, high_KS = torch.minimum(first_KS, second_KS), torch.maximum(first_KS, second_KS)
    # a < 0 happens for the double cone only: the ray lies inside on two half-lines, of which the lower nappe is ours.
    falls_KS, bounded_KS = direction_KS3[..., 2] < 0, a_KS > 0
    infinity = torch.full_like(a_KS, torch.inf)
    near_KS = torch.where(bounded_KS, low_KS, torch.where(falls_KS, high_KS, -infinity))
    far_KS = torch.where(bounded_KS, high_KS, torch.where(falls_KS, infinity, low_KS))
    return near_KS.masked_fill(discriminant_KS < 0, torch.inf), far_KS
