"""clean-fid's kernel distance made quick and repeatable, and each picture's influence on it.

Squared maximum mean discrepancy under the kernel (xᵀy / D + 1)³ (Bińkowski et al. 2018).
Legend: N pictures, M pictures of another set, D features, B pictures at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

SEED = 0  # of clean-fid's draws: every model meets the same subsets
_AT_ONCE = 512


class Cubing(np.ndarray):  # type: ignore[type-arg]
    """An array whose `** 3` is two products: NumPy calls pow, which is slow for negative numbers.

    The kernel is nearly all of a reduction.
    """

    def __pow__(self, exponent: int) -> Any:  # type: ignore[override]
        assert exponent == 3
        return self * self * self


@contextmanager
def seeded() -> Iterator[None]:
    """clean-fid draws from NumPy's global generator: seed it, and leave it as it was."""
    state = np.random.get_state()
    np.random.seed(SEED)
    try:
        yield
    finally:
        np.random.set_state(state)


def kernel_influences(x_ND: NDArray[Any], y_ND: NDArray[Any]) -> NDArray[np.float64]:
    """How fast the distance of two sets rises with the weight of each pair (x_i, y_i): (N,), of mean zero.

    Twice what the picture's own row of the kernel matrix adds: its mean with its own set, without itself, minus its
    mean with the other set, for both pictures of the pair.
    """
    rises = [_rises(*pair) for pair in ((x_ND, y_ND), (y_ND, x_ND))]
    both_N: NDArray[np.float64] = rises[0] + rises[1]
    both_N -= both_N.mean()
    return both_N


def sample_influences(x_ND: NDArray[Any], y_MD: NDArray[Any]) -> NDArray[np.float64]:
    """How fast the distance of x to y, which stays as it is, rises with the weight of each x_i: (N,), of mean zero."""
    rises_N = _rises(x_ND, y_MD)
    rises_N -= rises_N.mean()
    return rises_N


def _rises(own_ND: NDArray[Any], other_MD: NDArray[Any]) -> NDArray[np.float64]:
    count, width = own_ND.shape
    itself_N = ((own_ND * own_ND).sum(1) / width + 1) ** 3
    parts = []
    for start in range(0, count, _AT_ONCE):
        rows_BD = own_ND[start : start + _AT_ONCE]
        own_B, other_B = (
            ((rows_BD @ set_ND.T / width + 1).view(Cubing) ** 3).sum(1)
            for set_ND in (own_ND, other_MD)
        )
        mean_B = (own_B - itself_N[start : start + _AT_ONCE]) / (count - 1)
        parts.append(2 * (mean_B - other_B / len(other_MD)))
    return np.asarray(np.concatenate(parts), np.float64)
