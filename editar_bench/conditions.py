"""Condition pictures: the one place for edge, depth and palette conventions, each under its name.

Functions without kornia take NumPy arrays and torch tensors alike, with any leading batch axes.
Legend: B pictures, H × W pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from editar_bench.types import Picture

if TYPE_CHECKING:
    import torch

Array = TypeVar("Array", np.ndarray, "torch.Tensor")

# One color for sky, ground and each of seven shapes: corners, face centers and the center of the
# RGB cube, at least 127 apart, so that a blurred or re-coded map still decodes to its labels.
SCENES_PALETTE: tuple[tuple[int, int, int], ...] = (
    (0, 0, 0),
    (128, 128, 128),
    (255, 0, 0),
    (0, 255, 0),
    (0, 0, 255),
    (255, 255, 0),
    (255, 0, 255),
    (0, 255, 255),
    (255, 255, 255),
)
# ADE20K's 150 colors as mmsegmentation and ControlNet have them, in hexadecimal, after black for "none".
# Classes 7 and 49 share their gray: labels cannot be read back from such a picture.
_ADE20K = (
    "000000"
    "787878b4787806e6e650323204c8037878508c8c8ccc05ffe6e6e604fa07e005ffebff0796053d78784608ff33ff0652"
    "8fff8cccff04ff3307cc46030066c83de6faff06330b66ffff0747ff09e00907e6dcdcdcff095c7009ff08ffd607ffe0"
    "ffb8060aff47ff290a07ffffe0ff086608ffff3d06ffc207ff7a0800ff14ff0829ff05990633ffeb0cffa0961400a3ff"
    "8c8c8cfa0a0f14ff001fff00ff1f00ffe00099ff000000ffff470000ebff00adff1f00ff0bc8c8ff520000fff5003dff"
    "00ff7000ff85ff0000ffa300ff6600c2ff00008fff33ff000052ff00ff2900ffad0a00ffadff0000ff99ff5c00ff00ff"
    "ff00f5ff0066ffad00ff0014ffb8b8001fff00ff3d0047ffff00cc00ffc200ff52000aff0070ff3300ff00c2ff007aff"
    "00ffa3ff990000ff0aff70008fff005200ffa3ff00ffeb0008b8aa8500ff00ff5cb800ffff001f00b8ff00d6ffff0070"
    "5cff0000e0ff70e0ff46b8a0a300ff9900ff47ff00ff00a3ffcc00ff008f00ffeb85ff00ff00ebf500ffff007afff500"
    "0abed4d6ff0000ccff1400ffffff000099ff0029ff00ffcc2900ff29ff00ad00ff00f5ff4700ff7a00ff00ffb8005cff"
    "b8ff000085ffffd60019c2c266ff005c00ff"
)
ADE20K_PALETTE: tuple[tuple[int, int, int], ...] = tuple(
    (color[0], color[1], color[2])
    for color in (bytes.fromhex(_ADE20K[i : i + 6]) for i in range(0, len(_ADE20K), 6))
)
CANNY_LOW, CANNY_HIGH = 0.1, 0.2  # hysteresis thresholds on pictures in [0, 1]


def canny_kornia_batch(rgb_BHW3: torch.Tensor, *, double: bool = True) -> torch.Tensor:
    """Edges by the convention `kornia` 0.1/0.2, white on black; uint8 (B, H, W, 3) to the same.

    As ControlNet++ and EditAR do it: gray, 5×5 Gaussian of sigma 1, hysteresis. No blur of our own.

    Args:
        rgb_BHW3: pictures.
        double: in float64, where processors agree: in float32, which is published, the order of sums decides
            near-ties (on 250 scenes one processor was 2 pixels away, and 99 between two ways of convolving; of
            pictures with flat colors half of the edges are such ties).
    """
    import numpy as np
    import torch
    from kornia.filters import canny
    from scipy import ndimage

    unit_B3HW = rgb_BHW3.permute(0, 3, 1, 2).to(torch.float64 if double else torch.float32) / 255
    with torch.no_grad():
        _, edges_B1HW = canny(
            unit_B3HW, low_threshold=CANNY_LOW, high_threshold=CANNY_HIGH, hysteresis=False
        )
    # Hysteresis as connected components: kornia's own loop gives the same map ten times slower.
    edges_BHW = edges_B1HW[:, 0].cpu().numpy()
    within_picture = np.zeros((3, 3, 3), dtype=bool)
    within_picture[1] = True
    components_BHW, count = ndimage.label(edges_BHW > 0.25, structure=within_picture)
    kept = np.zeros(count + 1, dtype=bool)
    kept[np.unique(components_BHW[edges_BHW > 0.75])] = True
    kept[0] = False
    white_BHW1 = torch.from_numpy(kept[components_BHW].astype(np.uint8) * 255)[..., None]
    return white_BHW1.expand(-1, -1, -1, 3).contiguous().to(rgb_BHW3.device)


def canny_kornia(rgb: Picture, *, double: bool = True) -> Picture:
    """Edges of one picture, uint8 (H, W, 3), by the convention `kornia` 0.1/0.2; see `canny_kornia_batch`."""
    import torch

    batch = torch.from_numpy(rgb.copy())[None]
    picture: Picture = canny_kornia_batch(batch, double=double)[0].numpy()
    return picture


def canny_published(rgb: Picture) -> Picture:
    """Edges of one picture, uint8 (H, W, 3), as ControlNet++ and EditAR compute them: kornia 0.1/0.2 in float32."""
    return canny_kornia(rgb, double=False)


def inverse_depth(depth: Array, near: float, far: float) -> Array:
    """Depth in meters to [0, 1], linear in 1/depth: 1 at `near`, 0 at `far` and for inf."""
    unit: Array = ((1 / depth - 1 / far) / (1 / near - 1 / far)).clip(0, 1)
    return unit


def depth_picture(depth: Array, near: float, far: float) -> Array:
    """Depth (..., H, W) in meters to a uint8 picture (..., H, W, 3) in which near is white."""
    level: Array = inverse_depth(depth, near, far) * 255 + 0.5
    if isinstance(level, np.ndarray):
        picture: np.ndarray = level.astype(np.uint8)[..., None].repeat(3, -1)
        return picture
    gray = level.byte()[..., None]
    return gray.repeat_interleave(3, -1)


def palette_picture(
    label: Array, palette: tuple[tuple[int, int, int], ...] = SCENES_PALETTE
) -> Array:
    """Labels (..., H, W) to a uint8 picture (..., H, W, 3) of their colors."""
    colors = np.array(palette, dtype=np.uint8)
    if isinstance(label, np.ndarray):
        array: np.ndarray = colors[label]
        return array
    colors_L3 = label.new_tensor(palette).byte()
    return colors_L3[label.long()]


def palette_labels(
    picture: Array, palette: tuple[tuple[int, int, int], ...] = SCENES_PALETTE
) -> Array:
    """Colors (..., H, W, 3) in 0..255 to uint8 labels (..., H, W) by the nearest color (L2)."""
    if isinstance(picture, np.ndarray):
        offsets = picture[..., None, :].astype(np.float32) - np.array(palette, dtype=np.float32)
        label: np.ndarray = (offsets**2).sum(-1).argmin(-1).astype(np.uint8)
        return label
    offsets = picture[..., None, :].float() - picture.new_tensor(palette).float()
    return offsets.square().sum(-1).argmin(-1).byte()
