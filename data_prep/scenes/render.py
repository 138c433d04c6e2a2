"""The renderer: scene descriptions in, pictures and exact depth and label maps out, batched in torch on any device.

Only ground and sky are computed for every ray. An object's rays are those of the few pixels inside the circle that its
bounding sphere projects to, gathered over the whole batch into one list, so the cost follows the area that
objects cover. The camera does not roll, so a ray's x depends on its column alone and its y and z on its row alone.
Legend: B scenes, O object slots, H rows, W columns, S rays a pixel, K entries of a list of (scene, object, pixel, ray).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from data_prep.scenes import shading
from data_prep.scenes.camera import SAMPLES, Rays, camera_rays
from data_prep.scenes.description import Scene
from data_prep.scenes.geometry import bounding_radii, intersect
from data_prep.scenes.packing import Packed, pack

_SHADOW_REACH = 8.0  # meters from the grid center beyond which nothing casts shadow
# On a CPU few enough to stay in its cache, and many enough that starting the operations costs little.
_RAYS_AT_A_TIME = {"cpu": 2**19, "cuda": 2**24}
_MAX_DEPTH = 200.0  # meters; the ground's horizon, only for shading


@dataclass(frozen=True, slots=True)
class Rendering:
    """What `render` returns.

    rgb uint8 (B, H, W, 3); depth float (B, H, W), meters along the optical axis, inf = sky; label, color and
    material uint8 (B, H, W) in the coding of `description`; normal float (B, H, W, 3), viewer's frame, 0 = sky.
    """

    rgb: Tensor
    depth: Tensor
    label: Tensor
    color: Tensor
    material: Tensor
    normal: Tensor


def render(
    scenes: Sequence[Scene],
    size: int,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Rendering:
    """Render scenes at size×size pixels. float64 on the CPU is the reference that test pictures are made with."""
    kind = torch.device(device).type
    threads = torch.get_num_threads() if kind == "cpu" else 1
    most = _RAYS_AT_A_TIME[kind] // (size * size * len(SAMPLES))
    chunk = max(1, min(most, -(-len(scenes) // threads)))

    def part(start: int) -> Rendering:
        return _render_chunk(pack(scenes[start : start + chunk], dtype, device), size)

    parts = _in_parallel(part, range(0, len(scenes), chunk), threads)
    return Rendering(*(torch.cat([getattr(p, f.name) for p in parts]) for f in fields(Rendering)))


def _in_parallel(
    part: Callable[[int], Rendering], starts: Sequence[int], threads: int
) -> list[Rendering]:
    """All parts, each on one thread: over tensors this small, quicker than every operation on all threads."""
    if threads == 1 or len(starts) == 1:
        return [part(start) for start in starts]
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(part, starts))
    finally:
        torch.set_num_threads(threads)  # what a worker sets is what every later thread begins with


def _bounding(packed: Packed) -> tuple[Tensor, Tensor]:
    """Centers (B, O, 3) and radii (B, O) of the spheres that hold the objects."""
    lift_BO1 = 0.9 * packed.half_BO[..., None]
    center_BO3 = torch.cat([packed.center_BO3[..., :2], lift_BO1], -1)
    return center_BO3, bounding_radii(packed.half_BO)[packed.shape_BO.clamp_min(0)] * packed.half_BO


def _turn(angle_K: Tensor, vector_KS3: Tensor) -> Tensor:
    """Turn vectors about the vertical by an angle (radians, counter-clockwise from above)."""
    cos_K, sin_K = angle_K.cos()[:, None], angle_K.sin()[:, None]
    x_KS, y_KS, z_KS = vector_KS3.unbind(-1)
    return torch.stack([cos_K * x_KS - sin_K * y_KS, sin_K * x_KS + cos_K * y_KS, z_KS], -1)


def _to_object(packed: Packed, b_K: Tensor, o_K: Tensor, vector_KS3: Tensor) -> Tensor:
    """Turn and scale world vectors into the object's frame."""
    turned_KS3 = _turn(-packed.angle_BO[b_K, o_K], vector_KS3)
    return turned_KS3 / packed.half_BO[b_K, o_K][:, None, None]


@dataclass(frozen=True, slots=True)
class _Hits:
    """The rays that meet an object first.

    Scene, object, pixel and ray index, depth, point in the object's frame, the ray's direction and the normal in the
    world's.
    """

    b_K: Tensor
    o_K: Tensor
    p_K: Tensor
    s_K: Tensor
    depth_K: Tensor
    local_K3: Tensor
    ray_K3: Tensor
    normal_K3: Tensor

    def only(self, keep_K: Tensor) -> _Hits:
        """The hits picked by a boolean mask."""
        k = keep_K.nonzero()[:, 0]
        return _Hits(*(getattr(self, f.name)[k] for f in fields(self)))


def _candidates(packed: Packed, rays: Rays) -> tuple[Tensor, Tensor, Tensor]:
    """Scene, object and pixel of every pixel that may show an object."""
    center_BO3, radius_BO = _bounding(packed)
    size = rays.x_BWS.shape[1]
    offset_BO3 = center_BO3 - rays.eye_B3[:, None]
    x_BW, y_BH, z_BH = rays.x_BWS[..., 0], rays.y_BHS[..., 0], rays.z_BHS[..., 0]
    along_BOH = offset_BO3[..., 1:2] * y_BH[:, None] + offset_BO3[..., 2:] * z_BH[:, None]
    along_BOW = offset_BO3[..., :1] * x_BW[:, None]
    length_BHW = (y_BH.square() + z_BH.square())[..., None] + x_BW.square()[:, None]
    # A pixel is this wide at the object: rays beside the center ray must not be lost.
    slack_BO = 0.8 / size / packed.focal_B[:, None] * offset_BO3.norm(dim=-1)
    reach_BO = offset_BO3.square().sum(-1) - (radius_BO + slack_BO).square()
    reach_BO = reach_BO.masked_fill(packed.shape_BO < 0, torch.inf)
    along_BOHW = along_BOH[..., None] + along_BOW[..., None, :]
    near_BOHW = along_BOHW.square_() > reach_BO[..., None, None] * length_BHW[:, None]
    b_K, o_K, row_K, column_K = near_BOHW.nonzero(as_tuple=True)
    return b_K, o_K, row_K * size + column_K


def _trace(packed: Packed, rays: Rays, ground_BHS: Tensor) -> _Hits:
    """First hits of all rays with objects in front of the ground."""
    b_K, o_K, p_K = _candidates(packed, rays)
    n_scenes, size, n_samples = rays.x_BWS.shape
    ray_KS3 = rays.through(b_K, p_K)
    eye_K13 = (rays.eye_B3[b_K] - packed.center_BO3[b_K, o_K])[:, None]
    origin_K13 = _to_object(packed, b_K, o_K, eye_K13)
    direction_KS3 = _to_object(packed, b_K, o_K, ray_KS3)
    depth_KS, normal_KS3 = intersect(origin_K13, direction_KS3, packed.shape_BO[b_K, o_K])
    assert normal_KS3 is not None
    pixel_K1 = (b_K * size * size + p_K)[:, None].expand_as(depth_KS)
    nearest = depth_KS.new_full((n_scenes * size * size, n_samples), torch.inf)
    nearest.scatter_reduce_(0, pixel_K1, depth_KS, "amin")
    won_KS = (depth_KS == nearest[pixel_K1[:, 0]]) & (
        depth_KS < ground_BHS.reshape(-1, n_samples)[b_K * size + p_K // size]
    )
    k, s_K = won_KS.nonzero(as_tuple=True)
    depth_K = depth_KS[k, s_K]
    local_K3 = origin_K13[k, 0] + depth_K[:, None] * direction_KS3[k, s_K]
    normal_K3 = _turn(packed.angle_BO[b_K[k], o_K[k]], normal_KS3[k, s_K][:, None])[:, 0]
    return _Hits(b_K[k], o_K[k], p_K[k], s_K, depth_K, local_K3, ray_KS3[k, s_K], normal_K3)


def _blocked(packed: Packed, b_K: Tensor, o_K: Tensor, point_KS3: Tensor) -> Tensor:
    """Whether object o stands between each point and the sun; (K, S) bool."""
    from_center_KS3 = point_KS3 - packed.center_BO3[b_K, o_K][:, None]
    origin_KS3 = _to_object(packed, b_K, o_K, from_center_KS3)
    direction_K13 = _to_object(packed, b_K, o_K, packed.sun_B3[b_K][:, None])
    shape_K = packed.shape_BO[b_K, o_K]
    return intersect(origin_KS3, direction_K13, shape_K, normals=False)[0].isfinite()


def _passes(
    packed: Packed, b_N: Tensor, point_N3: Tensor, slack_N: Tensor
) -> tuple[Tensor, Tensor]:
    """Pairs (point, object) where the line from the point to the sun passes the object's sphere, grown by the slack.

    Points stand in the order of their scenes: a scene at a time is a product of small matrices, not a gather.
    """
    center_BO3, radius_BO = _bounding(packed)
    # Nothing passes an empty slot.
    radius_BO = radius_BO.masked_fill(packed.shape_BO < 0, -torch.inf)
    near = []
    counts = b_N.bincount(minlength=len(radius_BO)).tolist()
    split = zip(point_N3.split(counts), slack_N.split(counts), strict=True)
    for (point_M3, slack_M), center_O3, radius_O, sun_3 in zip(
        split, center_BO3, radius_BO, packed.sun_B3, strict=True
    ):
        along_MO = center_O3 @ sun_3 - (point_M3 @ sun_3)[:, None]
        apart_MO = center_O3.square().sum(-1) - 2 * point_M3 @ center_O3.T
        apart_MO += point_M3.square().sum(-1, keepdim=True)
        reach_MO = radius_O + slack_M[:, None]
        near.append((apart_MO - along_MO.square() < reach_MO.square()) & (along_MO > -reach_MO))
    n, o = torch.cat(near).nonzero(as_tuple=True)
    return n, o


def _object_light(packed: Packed, hits: _Hits, point_K3: Tensor) -> Tensor:
    """1 where the sun reaches a hit point, 0 in the shadow of an object, its own included; (K,)."""
    # Start a little off the surface, so that it does not shadow itself by rounding.
    start_K3 = point_K3 + 2e-3 * hits.normal_K3
    lit_K = torch.ones_like(hits.depth_K)
    k, o = _passes(packed, hits.b_K, start_K3, torch.zeros_like(hits.depth_K))
    blocked = _blocked(packed, hits.b_K[k], o, start_K3[k][:, None])[:, 0]
    lit_K[k[blocked]] = 0.0
    return lit_K


def _ground_light(packed: Packed, rays: Rays, ground_BHS: Tensor) -> Tensor:
    """1 where the sun reaches the ground, 0 in shadow; (B, H, W, 4), for the colored rays.

    Pixels are sifted by their center ray first.
    """
    n_scenes, size, n_samples = rays.colored().x_BWS.shape
    depth_BH = ground_BHS[..., 0]
    x_BHW = depth_BH[..., None] * rays.x_BWS[..., 0][:, None]
    y_BH = rays.eye_B3[:, 1:2] + depth_BH * rays.y_BHS[..., 0]
    near_BHW = x_BHW.square() + y_BH.square()[..., None] < _SHADOW_REACH**2
    b_N, row_N, column_N = near_BHW.nonzero(as_tuple=True)
    x_N, y_N = x_BHW[b_N, row_N, column_N], y_BH[b_N, row_N]
    point_N3 = torch.stack([x_N, y_N, torch.zeros_like(x_N)], -1)
    # The patch of ground under one pixel, longest away from the viewer.
    fall_BH = rays.z_BHS[..., 0].abs().clamp_min(0.05)
    slack_BH = 0.8 * depth_BH / size / packed.focal_B[:, None] / fall_BH
    n, o_K = _passes(packed, b_N, point_N3, slack_BH[b_N, row_N])
    b_K, row_K, p_K = b_N[n], row_N[n], row_N[n] * size + column_N[n]
    depth_KS = ground_BHS[b_K, row_K, 1:].clamp_max(_MAX_DEPTH)
    start_KS3 = rays.eye_B3[b_K][:, None] + depth_KS[..., None] * rays.colored().through(b_K, p_K)
    start_KS3[..., 2] = 1e-3
    blocked_KS = _blocked(packed, b_K, o_K, start_KS3)
    lit = point_N3.new_ones((n_scenes * size * size, n_samples))
    # Several objects may shade one pixel: the smallest light wins.
    pixel_KS = (b_K * size * size + p_K)[:, None].expand_as(blocked_KS)
    lit.scatter_reduce_(0, pixel_KS, (~blocked_KS).to(lit.dtype), "amin")
    return lit.view(n_scenes, size, size, n_samples)


def _light(packed: Packed, b_K: Tensor, normal_K3: Tensor) -> tuple[Tensor, Tensor]:
    """Incoming diffuse light, (K, 3) each: the sky's part, and the sun's part where it is not blocked."""
    horizon, _, sun, ambient = shading.sky_tables(normal_K3)
    sky_K = packed.sky_B[b_K]
    facing_K = (normal_K3 * packed.sun_B3[b_K]).sum(-1).clamp_min(0)
    from_sky_K = ambient[sky_K] * (0.65 + 0.35 * normal_K3[:, 2])
    tint_K3 = 0.5 + 0.5 * horizon[sky_K]
    direct_K = packed.strength_B[b_K] * facing_K
    return from_sky_K[:, None] * tint_K3, direct_K[:, None] * sun[sky_K]


def _ground(packed: Packed, rays: Rays, ground_BHS: Tensor, lit_BHWS: Tensor) -> Tensor:
    """Color of the ground along rays, (B, 3, H, W, S); rays above the horizon see it at the far end."""
    depth_BHS = ground_BHS.clamp_max(_MAX_DEPTH)
    x_BHWS = depth_BHS[:, :, None] * rays.x_BWS[:, None]
    y_BHS = rays.eye_B3[:, 1, None, None] + depth_BHS * rays.y_BHS
    mix_BHWS = shading.ground_mix(x_BHWS, y_BHS[:, :, None], packed.ground_B, packed.azimuth_B)
    mix_BHWS = shading.fade_texture(mix_BHWS, depth_BHS[:, :, None])
    scene = torch.arange(len(packed.ground_B), device=x_BHWS.device)
    up_B3 = packed.sun_B3.new_tensor([0.0, 0.0, 1.0]).expand_as(packed.sun_B3)
    sky_light_B3, sun_light_B3 = _light(packed, scene, up_B3)
    tone_a, tone_b = shading.ground_tones(up_B3)
    a_B3, b_B3 = tone_a[packed.ground_B], tone_b[packed.ground_B]

    def spread(x_B3: Tensor) -> Tensor:
        return x_B3[..., None, None, None]

    albedo = spread(a_B3) + mix_BHWS[:, None] * spread(b_B3 - a_B3)
    light = spread(sky_light_B3) + lit_BHWS[:, None] * spread(sun_light_B3)
    haze = (1 - torch.exp(-depth_BHS / 25.0))[:, None, :, None]
    horizon = spread(shading.sky_tables(up_B3)[0][packed.sky_B])
    return (albedo * light).lerp_(horizon, haze.to(albedo.dtype).expand_as(albedo))


def _object_color(packed: Packed, hits: _Hits, lit_K: Tensor) -> Tensor:
    b_K, o_K = hits.b_K, hits.o_K
    view_K3 = hits.ray_K3 / hits.ray_K3.norm(dim=-1, keepdim=True)
    color_K, pattern_K = packed.color_BO[b_K, o_K], packed.pattern_BO[b_K, o_K]
    albedo_K3 = shading.object_albedo(hits.local_K3, color_K, pattern_K)
    sky_light_K3, sun_light_K3 = _light(packed, b_K, hits.normal_K3)
    bounce_K3 = view_K3 - 2 * (view_K3 * hits.normal_K3).sum(-1, keepdim=True) * hits.normal_K3
    sky_K3 = shading.sky_color(bounce_K3, packed.sky_B[b_K], packed.azimuth_B[b_K])
    floor_K3 = shading.ground_mean(view_K3)[packed.ground_B[b_K]] * 0.8
    # A soft horizon in the mirror, so that a metal edge does not flicker between two colors.
    mirror_K3 = torch.lerp(floor_K3, sky_K3, (0.5 + 4 * bounce_K3[:, 2:]).clamp(0, 1))
    return shading.shade_object(
        albedo_K3,
        packed.material_BO[b_K, o_K],
        hits.normal_K3,
        view_K3,
        sky_light_K3 + lit_K[:, None] * sun_light_K3,
        mirror_K3,
    )


def _sky(packed: Packed, rays: Rays) -> Tensor:
    """Color of the sky along rays, (B, 3, H, W, S)."""
    ray_BHWS3 = torch.stack(
        torch.broadcast_tensors(
            rays.x_BWS[:, None], rays.y_BHS[:, :, None], rays.z_BHS[:, :, None]
        ),
        -1,
    )
    unit_BHWS3 = ray_BHWS3 / ray_BHWS3.norm(dim=-1, keepdim=True)
    return shading.sky_color(unit_BHWS3, packed.sky_B, packed.azimuth_B).movedim(-1, 1)


def _background(packed: Packed, rays: Rays, ground_BHS: Tensor) -> Tensor:
    """Color of sky and ground along the colored rays, (B, 3, H, W, 4).

    The camera does not roll, so the horizon runs along the rows: the sky is computed for the rows down to the lowest
    horizon of the batch, the ground for those from the highest on.
    """
    falls_BHS = ground_BHS[..., 1:].isfinite()
    first = int((~falls_BHS).all(2).all(0).sum())  # rows of nothing but sky
    last = int((~falls_BHS).any(2).any(0).sum())  # rows with any sky
    lit_BHWS = _ground_light(packed, rays, ground_BHS)
    below = slice(first, None)
    ground = _ground(packed, rays.colored(below), ground_BHS[:, below, 1:], lit_BHWS[:, below])
    sky = _sky(packed, rays.colored(slice(0, last)))
    mixed = slice(first, last)
    ground_first, sky_last = ground[:, :, : last - first], sky[:, :, mixed]
    seam = torch.where(falls_BHS[:, None, mixed, None, :], ground_first, sky_last)
    return torch.cat([sky[:, :, :first], seam, ground[:, :, last - first :]], 2)


def _render_chunk(packed: Packed, size: int) -> Rendering:
    rays = camera_rays(packed, size)
    falls_BHS = rays.z_BHS < -1e-6
    fall_BHS = torch.where(falls_BHS, -rays.z_BHS, torch.ones_like(rays.z_BHS))
    ground_BHS = torch.where(falls_BHS, rays.eye_B3[:, 2, None, None] / fall_BHS, torch.inf)
    hits = _trace(packed, rays, ground_BHS)

    color = _background(packed, rays, ground_BHS)
    seen = hits.only(hits.s_K > 0)
    point_K3 = rays.eye_B3[seen.b_K] + seen.depth_K[:, None] * seen.ray_K3
    shaded_K3 = _object_color(packed, seen, _object_light(packed, seen, point_K3))
    color[seen.b_K, :, seen.p_K // size, seen.p_K % size, seen.s_K - 1] = shaded_K3
    picture = color.clamp_(0, 1).mean(-1).pow(shading.GAMMA)
    picture = shading.apply_style(picture, packed.style_B).clamp(0, 1)
    rgb = (picture * 255 + 0.5).to(torch.uint8).movedim(1, -1).contiguous()
    return Rendering(rgb, *_maps(packed, hits.only(hits.s_K == 0), ground_BHS[..., 0], size))


def _maps(packed: Packed, hits: _Hits, ground_BH: Tensor, size: int) -> tuple[Tensor, ...]:
    """Depth, label, color, material and normal of the center rays."""
    depth = ground_BH[..., None].expand(-1, -1, size).flatten(1).clone()
    label = depth.isfinite().to(torch.uint8)
    color, material = torch.zeros_like(label), torch.zeros_like(label)
    normal = label[..., None] * depth.new_tensor([0.0, 0.0, 1.0])
    b_K, o_K, p_K = hits.b_K, hits.o_K, hits.p_K
    depth[b_K, p_K] = hits.depth_K
    label[b_K, p_K] = (2 + packed.shape_BO[b_K, o_K]).to(torch.uint8)
    color[b_K, p_K] = (1 + packed.color_BO[b_K, o_K]).to(torch.uint8)
    material[b_K, p_K] = (1 + packed.material_BO[b_K, o_K]).to(torch.uint8)
    normal[b_K, p_K] = hits.normal_K3
    return tuple(m.unflatten(1, (size, size)) for m in (depth, label, color, material, normal))
