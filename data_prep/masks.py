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
    counts = _alternating(pairs.reshape(-1, 2).astype(np.int64), height * width)
    mask = np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(height, width)
    mask[[0, -1], :] = True
    mask[:, [0, -1]] = True
    return mask


def _alternating(pairs_N2: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Lengths (2N + 3,) of alternating stretches outside and inside any run, outside first; they sum to `total`."""
    ordered = pairs_N2[np.argsort(pairs_N2[:, 0], kind="stable")]
    starts = np.concatenate([[0], ordered[:, 0]]).clip(max=total)
    lengths = np.concatenate([[0], ordered[:, 1]])
    stops = np.maximum.accumulate(starts + np.minimum(lengths, total - starts))
    before = np.concatenate([[0], stops[:-1]])
    counts = np.empty(2 * len(starts) + 1, dtype=np.int64)
    counts[0:-1:2] = (starts - before).clip(min=0)
    counts[1::2] = stops - np.maximum(starts, before)  # what a run adds to those before it
    counts[-1] = total - stops[-1]
    return counts
