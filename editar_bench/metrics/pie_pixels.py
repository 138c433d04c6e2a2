"""PIE-Bench's PSNR and MSE: float32, colors in [0, 1], means over all values of the frame (pie.psnr, pie.mse)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from editar_bench.metrics._base import Undefined
from editar_bench.metrics._pie import PieComparison
from editar_bench.metrics._released import Pair


class _Mse(PieComparison):
    KIND = ("pie_mse", "pie.mse", "×10⁻⁴", "lower", "mean squared error")

    def compare(self, pairs: Sequence[Pair]) -> list[float]:
        """Times 10,000."""
        return [1e4 * frame_error(*pair) for pair in pairs]


class _Psnr(PieComparison):
    KIND = ("pie_psnr", "pie.psnr", "dB", "higher", "PSNR")

    def compare(self, pairs: Sequence[Pair]) -> list[float | Undefined]:
        """Decibels; equal pictures, whose published value is infinite, are counted and not averaged."""
        return [_decibels(frame_error(*pair)) for pair in pairs]


class PieMseUnedit(_Mse, region="unedit"):
    """Outside the mask."""


class PieMse(_Mse, region="frame"):
    """The whole frame."""


class PieMseEdit(_Mse, region="edit"):
    """Inside the mask."""


class PiePsnrUnedit(_Psnr, region="unedit"):
    """Outside the mask."""


class PiePsnr(_Psnr, region="frame"):
    """The whole frame."""


class PiePsnrEdit(_Psnr, region="edit"):
    """Inside the mask."""


def _decibels(error: float) -> float | Undefined:
    if not error:
        return Undefined("source and result are equal there; the published PSNR is infinite")
    return -10 * float(np.log10(error))


def frame_error(*pair: np.ndarray) -> float:
    """Mean squared difference in [0, 1] of two uint8 pictures (H, W, 3), exact in integers until the division."""
    a, b = (picture.astype(np.int32).ravel() for picture in pair)
    difference = a - b
    return float(np.dot(difference.astype(np.float64), difference)) / (difference.size * 255**2)
