"""PIE-Bench's run-length masks (Ju et al. 2024, `mapping_file.json`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SIDE = 512  # pixels


def decode_runs(runs: Sequence[int], height: int = SIDE, width: int = SIDE) -> NDArray[np.bool_]:
    """A flat list start, length, start, length, … to a mask (height, width); True may change.

    Runs count along the rows of the picture and are cut at its end. The outermost rows and columns are then set,
    as the published reader does "to avoid annotation errors in boundary".

    Raises:
        ValueError: the list is not pairs of non-negative integers.
    """
    pairs = np.asarray(runs)
    if pairs.size % 2 or (pairs.size and (pairs.dtype.kind not in "iu" or pairs.min() < 0)):
        raise ValueError("a mask is not a list of pairs of non-negative integers")
    flat = np.zeros(height * width, dtype=bool)
    for start, length in pairs.reshape(-1, 2).tolist():
        flat[start : start + length] = True
    mask = flat.reshape(height, width)
    mask[[0, -1], :] = True
    mask[:, [0, -1]] = True
    return mask
