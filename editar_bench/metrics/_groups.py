"""Set-level protocols that need all pictures of a prompt together: four, in the ControlNet++ tables.

Legend: N observed pictures, P prompts, K numbers a picture.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

PICTURES = 4  # a prompt


def tag(sample_id: str) -> float:
    """A number that tells samples apart: 48 bits of a hash, exact in a float64."""
    return float(int.from_bytes(hashlib.sha256(sample_id.encode()).digest()[:6], "big"))


def by_prompt(rows: NDArray[Any]) -> NDArray[Any] | None:
    """Rows (N, 1 + K), the tag first, to (P, 4, K): the pictures of a prompt in the order of their repeats.

    A prompt that a bootstrap drew several times appears several times. None where some prompt has not four pictures,
    because the protocol is then another one.
    """
    order = np.argsort(rows[:, 0], kind="stable")
    _, counts = np.unique(rows[:, 0], return_counts=True)
    if not len(counts) or (counts % PICTURES).any():
        return None
    groups: NDArray[Any] = rows[order, 1:].reshape(-1, PICTURES, rows.shape[1] - 1)
    return groups
