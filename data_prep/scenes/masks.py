"""Which pixels an edit may change: those that differ between source and truth, shadows included."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data_prep.scenes.edits import WITHOUT_OUTSIDE
from editar_bench.types import Picture

TOLERANCE = 2  # of 255; a pixel has changed when any channel differs by more
GROWTH = 2  # pixels by which the mask reaches beyond the change, in all eight directions
MIN_CHANGED = 40  # pixels; an edit that changes fewer is not worth asking for and is drawn again


def changed_pixels(source: Picture, target: Picture) -> NDArray[np.bool_]:
    """True (H, W) where any channel of two uint8 pictures differs by more than `TOLERANCE`."""
    difference = np.abs(source.astype(np.int16) - target.astype(np.int16))
    changed: NDArray[np.bool_] = np.any(difference > TOLERANCE, axis=-1)
    return changed


def grow(mask: NDArray[np.bool_], pixels: int = GROWTH) -> NDArray[np.bool_]:
    """Dilate a boolean mask (H, W) by a square of side 2·pixels + 1 (Chebyshev distance)."""
    grown = mask
    for axis in (0, 1):
        line = grown.copy()
        for step in range(1, pixels + 1):
            ahead, behind = [slice(None)] * 2, [slice(None)] * 2
            ahead[axis], behind[axis] = slice(step, None), slice(None, -step)
            line[tuple(ahead)] |= grown[tuple(behind)]
            line[tuple(behind)] |= grown[tuple(ahead)]
        grown = line
    return grown


def edit_mask(source: Picture, target: Picture, edit_type: str) -> NDArray[np.bool_] | None:
    """The pixels (H, W) an edit may change; None for edits of the whole picture.

    Background and style edits have no outside, so background preservation is undefined for them.
    """
    if edit_type in WITHOUT_OUTSIDE:
        return None
    return grow(changed_pixels(source, target))
