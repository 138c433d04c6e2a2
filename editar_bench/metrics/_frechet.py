"""The Fréchet distance of two Gaussians, from features and without a matrix square root.

d² = |m₁ − m₂|² + tr C₁ + tr C₂ − 2 tr (C₁ C₂)^½ (Heusel et al. 2017). With C₁ = F₁ᵀF₁ and C₂ = F₂ᵀF₂ the last trace
is the sum of the singular values of F₁F₂ᵀ, which needs no square root of a nearly singular product.
Legend: N, M pictures, D features, R, S rows of factors, K singular values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def frechet_distance(a_ND: Array, b_MD: Array) -> float:
    """Of two sets of at least two feature vectors each; covariances are divided by N − 1, as NumPy's."""
    mean_a, factor_a = moments(a_ND)
    mean_b, factor_b = moments(b_MD)
    return distance_of_moments(mean_a, factor_a, mean_b, factor_b)


def influences(a_ND: Array, b_MD: Array) -> tuple[Array, Array]:
    """How fast the distance rises with the weight of each picture of either set: (N,) and (M,), each of mean zero.

    The derivatives of |m₁ − m₂|² + tr C₁ + tr C₂ − 2 ‖X Yᵀ‖ by the weights, where the rows of X and Y are the centered
    pictures, each times the root of its weight, and ‖·‖ is the sum of the singular values. By the weight of a row that
    sum rises half as fast as the row's entry on the diagonal of (X Yᵀ Y Xᵀ)^½ says.
    """
    from scipy import linalg

    sets = [_Coordinates.of(np.asarray(x, np.float64)) for x in (a_ND, b_MD)]
    cross_RS = sets[0].factor_RD @ sets[1].factor_RD.T
    left_RK, values_K, right_KS = linalg.svd(cross_RS, full_matrices=False, check_finite=False)
    shift_D = sets[0].mean_D - sets[1].mean_D
    a_N = sets[0].influence(shift_D, left_RK, values_K)
    return a_N, sets[1].influence(-shift_D, right_KS.T, values_K)


@dataclass(frozen=True, slots=True)
class _Coordinates:
    """Centered pictures, divided by √(N − 1), as products Q F with orthonormal columns of Q."""

    mean_D: Array
    centered_ND: Array
    factor_RD: Array
    q_NR: Array | None  # None: the identity

    @classmethod
    def of(cls, x_ND: Array) -> _Coordinates:
        from scipy import linalg

        mean_D = x_ND.mean(0)
        centered_ND = x_ND - mean_D
        if len(x_ND) <= x_ND.shape[1]:
            return cls(mean_D, centered_ND, centered_ND / np.sqrt(len(x_ND) - 1), None)
        q_NR, upper_RD = linalg.qr(centered_ND, mode="economic", check_finite=False)
        return cls(mean_D, centered_ND, upper_RD / np.sqrt(len(x_ND) - 1), q_NR)

    def influence(self, shift_D: Array, vectors_RK: Array, values_K: Array) -> Array:
        """Of each picture, given this set's mean minus the other's and the singular vectors on this side."""
        count = len(self.centered_ND)
        turned_NK = vectors_RK if self.q_NR is None else self.q_NR @ vectors_RK
        shared_N = turned_NK**2 @ values_K
        lengths_N = (self.centered_ND**2).sum(1) / (count - 1)
        rises_N: Array = 2 * self.centered_ND @ shift_D + count * (lengths_N - shared_N)
        rises_N -= rises_N.mean()
        return rises_N


def moments(x_ND: Array) -> tuple[Array, Array]:
    """The mean (D,) and a factor F (R, D) of the covariance, FᵀF, with R = min(N, D) rows."""
    from scipy import linalg

    mean_D: Array = np.asarray(np.mean(x_ND, axis=0, dtype=np.float64))
    centered_ND = x_ND - mean_D
    scale = np.sqrt(len(x_ND) - 1)
    if len(x_ND) <= x_ND.shape[1]:
        return mean_D, centered_ND / scale
    try:
        return mean_D, linalg.cholesky(centered_ND.T @ centered_ND, check_finite=False) / scale
    except linalg.LinAlgError:  # a feature that never varies
        (upper_ND,) = linalg.qr(centered_ND, mode="r", check_finite=False)[:1]
        return mean_D, upper_ND[: x_ND.shape[1]] / scale


def distance_of_moments(mean_a: Array, factor_a: Array, mean_b: Array, factor_b: Array) -> float:
    """The squared distance; factors as `moments` gives them."""
    shift = float(np.sum((mean_a - mean_b) ** 2))
    spread = float(np.sum(factor_a**2) + np.sum(factor_b**2))
    return shift + spread - 2 * nuclear_norm(factor_a @ factor_b.T)


def nuclear_norm(x_RS: Array) -> float:
    """Sum of the singular values: square roots of the eigenvalues of the smaller Gram matrix."""
    from scipy import linalg

    small = x_RS if x_RS.shape[0] <= x_RS.shape[1] else x_RS.T
    eigenvalues = linalg.eigh(
        small @ small.T, eigvals_only=True, check_finite=False, overwrite_a=True
    )
    return float(np.sqrt(eigenvalues.clip(min=0)).sum())
