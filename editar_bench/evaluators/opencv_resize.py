"""OpenCV's bilinear resize of 8-bit pictures, to the bit, without OpenCV: mmsegmentation's input goes through it.

Weights have 11 bits; rows are mixed first, then columns with the lowest 4 bits cut off.
Legend: H × W pixels before, h × w after.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from editar_bench.types import Picture

_ONE = 1 << 11
LONGEST = 4  # times the short side that is asked for


def short_side(picture: Picture, side: int) -> Picture:
    """A picture (H, W, 3) scaled so that its short side has `side` pixels, or its long side four times as many.

    mmsegmentation's scale (2048, 512) with the ratio kept. As it is where it has that size.
    """
    height, width = picture.shape[:2]
    scale = min(side / min(height, width), LONGEST * side / max(height, width))
    if scale == 1:
        return picture
    return resize(picture, int(height * scale + 0.5), int(width * scale + 0.5))


def resize(picture: Picture, height: int, width: int) -> Picture:
    """A picture (H, W, 3) at another size (h, w, 3)."""
    left_w, right_w, weight_w2 = _weights(picture.shape[1], width, edge_alone=True)
    upper_h, lower_h, weight_h2 = _weights(picture.shape[0], height, edge_alone=False)
    wide = picture.astype(np.int32)
    rows_Hw3 = wide[:, left_w] * weight_w2[:, 0, None] + wide[:, right_w] * weight_w2[:, 1, None]
    cut = rows_Hw3 >> 4
    upper, lower = (weight_h2[:, i, None, None] for i in (0, 1))
    mixed = ((upper * cut[upper_h]) >> 16) + ((lower * cut[lower_h]) >> 16)
    resized: Picture = ((mixed + 2) >> 2).clip(0, 255).astype(np.uint8)
    return resized


def _weights(
    before: int, after: int, *, edge_alone: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """Of each new pixel its two old neighbors and their weights (after, 2).

    Where one neighbor lies outside, the edge counts alone (columns), or twice with both weights (rows): rounding tells.
    """
    place = ((np.arange(after) + 0.5) * (before / after) - 0.5).astype(np.float32)
    first = np.floor(place).astype(np.int64)
    part = place - first.astype(np.float32)
    if edge_alone:
        part[(first < 0) | (first >= before - 1)] = 0
    pair = np.rint(np.stack([1 - part, part], 1) * _ONE).astype(np.int32)
    return first.clip(0, before - 1), (first + 1).clip(0, before - 1), pair
