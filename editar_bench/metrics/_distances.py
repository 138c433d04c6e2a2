"""Distances between pictures: pixels, and feature maps of the segmenter.

Legend: C channels, h × w positions of a feature map, N = h · w, H × W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from editar_bench.types import Picture

Map = NDArray[np.floating]
PSNR_CAP = 50.0  # decibels; equal pictures have an infinite PSNR, which no mean survives


def squared_error(a: Picture, b: Picture, where: NDArray[np.bool_]) -> float:
    """Mean squared difference in [0, 1] over the pixels `where` (H, W), channels averaged."""
    difference = a[where].astype(np.float64) - b[where].astype(np.float64)
    return float(np.mean(difference**2)) / 255**2


def psnr(error: float) -> float:
    """Decibels of a mean squared error of pictures in [0, 1], at most `PSNR_CAP`."""
    if error <= 10 ** (-PSNR_CAP / 10):
        return PSNR_CAP
    return float(-10 * np.log10(error))


def ssim(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """SSIM of uint8 pictures (H, W, channels) by torchmetrics 1.5 and later: its defaults, data range 1."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    from editar_bench.evaluators.pictures import as_unit

    return float(
        structural_similarity_index_measure(as_unit([a]), as_unit([b]), data_range=1.0)  # type: ignore[arg-type]
    )


def perceptual_maps(a: Sequence[Map], b: Sequence[Map]) -> list[Map]:
    """Where two pictures differ in feature space, one map (h, w) a level.

    As LPIPS (Zhang et al. 2018, without its learned weights): at each position channels are scaled
    to unit length, and squared differences summed; each value lies in [0, 4].
    """
    return [((_unit(x) - _unit(y)) ** 2).sum(0) for x, y in zip(a, b, strict=True)]


def perceptual(a: Sequence[Map], b: Sequence[Map], where: NDArray[np.bool_] | None = None) -> float:
    """The maps above averaged over positions, then over levels.

    Args:
        a: feature maps (C, h, w) of one picture, one a level.
        b: the same of the other.
        where: pixels (H, W) that count; a position counts by the share of its pixels that do.
    """
    maps = perceptual_maps(a, b)
    if where is None:
        return float(np.mean([level.mean() for level in maps]))
    means = []
    for level in maps:
        share = _pooled(where, level.shape)
        means.append((level * share).sum() / share.sum())
    return float(np.mean(means))


def structure(a: Map, b: Map) -> float:
    """Mean squared difference of the cosine self-similarities of two feature maps (C, h, w).

    Tumanyan et al. 2022, as PIE-Bench uses it; every position is a token, there is no class token.
    """
    return float(np.mean((_self_similarity(a) - _self_similarity(b)) ** 2))


def _self_similarity(x: Map) -> Map:
    tokens_CN = _unit(x).reshape(len(x), -1)
    similarity_NN: Map = tokens_CN.T @ tokens_CN
    return similarity_NN


def _unit(x: Map) -> Map:
    """Scale the channels at each position to unit length, in float64."""
    wide = x.astype(np.float64)
    scaled: Map = wide / (np.sqrt((wide**2).sum(0, keepdims=True)) + 1e-10)  # as LPIPS
    return scaled


def _pooled(where: NDArray[np.bool_], shape: tuple[int, ...]) -> Map:
    """Share of `where` in each of the (h, w) cells of the picture."""
    height, width = shape
    rows, columns = where.shape[0] // height, where.shape[1] // width
    cells = where.reshape(height, rows, width, columns).astype(np.float64)
    pooled: Map = cells.mean((1, 3))
    return pooled
