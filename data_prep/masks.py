"""PIE-Bench's run-length masks (Ju et al. 2024, `mapping_file.json`)."""

from __future__ import annotations

from array import array
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
    try:
        flat = np.asarray(array("q", runs))  # half the time of a list's conversion
    except (TypeError, OverflowError):
        flat = np.array([-1])
    if flat.size % 2 or (flat.size and flat.min() < 0):
        raise ValueError("a mask is not a list of pairs of non-negative integers")
    counts = _alternating(flat[::2], flat[1::2], height * width)
    is_inside = np.zeros(len(counts), dtype=bool)
    is_inside[1::2] = True
    mask = np.repeat(is_inside, counts).reshape(height, width)
    mask[0] = mask[-1] = True
    mask[:, 0] = mask[:, -1] = True
    return mask


def _alternating(
    starts_N: NDArray[np.int64], lengths_N: NDArray[np.int64], total: int
) -> NDArray[np.int64]:
    """Lengths (2N + 1,) of alternating stretches outside and inside any run, outside first; they sum to `total`."""
    starts_N = np.minimum(starts_N, total)
    stops_N = starts_N + np.minimum(lengths_N, total - starts_N)
    counts = _between(starts_N, stops_N, total)
    if counts.min() < 0:  # runs out of order, or one over another
        order_N = np.argsort(starts_N, kind="stable")
        starts_N, stops_N = starts_N[order_N], np.maximum.accumulate(stops_N[order_N])
        before_N = np.concatenate([[0], stops_N[:-1]])
        counts = _between(np.maximum(starts_N, before_N), stops_N, total)
    return counts


def _between(
    starts_N: NDArray[np.int64], stops_N: NDArray[np.int64], total: int
) -> NDArray[np.int64]:
    bounds = np.empty(2 * len(starts_N) + 2, dtype=np.int64)
    bounds[0], bounds[-1] = 0, total
    bounds[1:-1:2], bounds[2:-1:2] = starts_N, stops_N
    return np.diff(bounds)
