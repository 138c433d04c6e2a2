"""Set-level protocols that need all pictures of a prompt together: four, in the ControlNet++ tables.

A picture without a value, as where the data lack the true one, has NaN in its row.
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


def first_pictures(rows: NDArray[Any]) -> NDArray[np.bool_]:
    """Of rows (N, 1 + K), the tag first, those of a sample's first picture: protocols of one picture read no other.

    A sample whose first picture has no value is left out.
    """
    first: NDArray[np.bool_] = (_ranks(rows[:, 0]) == 0) & with_values(rows)
    return first


def with_values(rows: NDArray[Any]) -> NDArray[np.bool_]:
    """Rows (N, 1 + K) whose numbers are all there."""
    there: NDArray[np.bool_] = np.isfinite(rows).all(1)
    return there


def whole_prompts(rows: NDArray[Any]) -> NDArray[np.bool_]:
    """Of rows (N, 1 + K), the tag first, the first four pictures of every prompt that has so many, all with values.

    A prompt with a picture that failed is left out, and missing from the number of samples.
    """
    ranks = _ranks(rows[:, 0])
    wanted: NDArray[np.bool_] = (ranks < PICTURES) & with_values(rows)
    _, place, counts = np.unique(rows[wanted, 0], return_inverse=True, return_counts=True)
    wanted[wanted] = counts[place] == PICTURES
    return wanted


def _ranks(tags: NDArray[Any]) -> NDArray[np.int64]:
    """How many rows with the same tag come before each."""
    order = np.argsort(tags, kind="stable")
    _, starts, counts = np.unique(tags[order], return_index=True, return_counts=True)
    ranks = np.empty(len(tags), dtype=np.int64)
    ranks[order] = np.arange(len(tags)) - np.repeat(starts, counts)
    return ranks


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
