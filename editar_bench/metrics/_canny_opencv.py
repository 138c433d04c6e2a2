"""OpenCV's canny of a color picture (aperture 3, L1 gradient), bit by bit, without OpenCV.

Canny 1986 with the integer arithmetic of OpenCV: of the three channels the one with the steepest gradient counts;
maxima are thinned along one of four directions; weak edges stay where they touch strong ones.
Legend: H × W pixels, 3 channels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from editar_bench.types import Picture

LOW, HIGH = 100, 200  # ControlAR's; on Sobel sums of uint8 colors
_TAN_22 = 13573  # tan(22.5°) × 2^15, rounded as OpenCV rounds it
Map = NDArray[np.int32]


def canny_opencv(picture: Picture, low: int = LOW, high: int = HIGH) -> NDArray[np.bool_]:
    """Edges (H, W) of a uint8 picture (H, W, 3)."""
    from scipy import ndimage

    across, down = _gradient(picture)
    steepness = np.abs(across) + np.abs(down)
    thin = _is_maximum(across, down, steepness) & (steepness > low)
    components, count = ndimage.label(thin, structure=np.ones((3, 3)))
    kept = np.zeros(count + 1, dtype=bool)
    kept[np.unique(components[thin & (steepness > high)])] = True
    kept[0] = False
    edges: NDArray[np.bool_] = kept[components]
    return edges


def _gradient(picture: Picture) -> tuple[Map, Map]:
    """Sobel derivatives (H, W) of the steepest channel, the border repeated; the first of equals."""
    padded = np.pad(picture.astype(np.int32), ((1, 1), (1, 1), (0, 0)), mode="edge")
    rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    columns = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    across_HW3, down_HW3 = rows[:, 2:] - rows[:, :-2], columns[2:] - columns[:-2]
    best_HW1 = (np.abs(across_HW3) + np.abs(down_HW3)).argmax(-1)[..., None]
    across, down = (np.take_along_axis(d, best_HW1, -1)[..., 0] for d in (across_HW3, down_HW3))
    return across, down


def _is_maximum(across: Map, down: Map, steepness: Map) -> NDArray[np.bool_]:
    """Where the steepness is largest along the gradient, in steps of 45 degrees; outside it is 0."""
    around = np.pad(steepness, 1)

    def shifted(rows: int, columns: int) -> Map:
        height, width = steepness.shape
        return around[1 + rows : 1 + rows + height, 1 + columns : 1 + columns + width]

    x = np.abs(across).astype(np.int64)
    y = np.abs(down).astype(np.int64) << 15
    flat = y < x * _TAN_22
    upright = y > x * _TAN_22 + (x << 16)
    along_x = (steepness > shifted(0, -1)) & (steepness >= shifted(0, 1))
    along_y = (steepness > shifted(-1, 0)) & (steepness >= shifted(1, 0))
    falling = (steepness > shifted(-1, -1)) & (steepness > shifted(1, 1))
    rising = (steepness > shifted(-1, 1)) & (steepness > shifted(1, -1))
    slanted = np.where((across ^ down) < 0, rising, falling)
    maximum: NDArray[np.bool_] = np.where(flat, along_x, np.where(upright, along_y, slanted))
    return maximum
