"""The Fréchet distance of two Gaussians, from features and without a matrix square root.

d² = |m₁ − m₂|² + tr C₁ + tr C₂ − 2 tr (C₁ C₂)^½ (Heusel et al. 2017). With C₁ = F₁ᵀF₁ and C₂ = F₂ᵀF₂ the last trace
is the sum of the singular values of F₁F₂ᵀ, which needs no square root of a nearly singular product.
Legend: N, M pictures, D features, R rows of a factor.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def frechet_distance(a_ND: Array, b_MD: Array) -> float:
    """Of two sets of at least two feature vectors each; covariances are divided by N − 1, as NumPy's."""
    mean_a, factor_a = moments(a_ND)
    mean_b, factor_b = moments(b_MD)
    return distance_of_moments(mean_a, factor_a, mean_b, factor_b)


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
