"""Background preservation without PIE-Bench's quirk: means over the pixels of the background alone.

Under the published protocol the black of a large mask counts as perfect agreement: the same damage to the
background scores better the larger the mask. Here it does not.
"""

from __future__ import annotations

from editar_bench.contracts import Direction, MetricInfo
from editar_bench.metrics._base import EDIT, PerSample, outside
from editar_bench.metrics._distances import psnr, squared_error
from editar_bench.metrics._pie import fitted
from editar_bench.types import Example, Picture


def _info(name: str, protocol: str, unit: str, direction: Direction, what: str) -> MetricInfo:
    return MetricInfo(
        name=name,
        protocol=protocol,
        unit=unit,
        direction=direction,
        version=1,
        tasks=EDIT,
        description=f"{what} over the pixels outside the mask, against the source",
    )


class CleanMseUnedit(PerSample):
    """Mean squared error of the background's pixels."""

    INFO = _info(
        "clean_mse_unedit", "clean.mse.unedit.area", "×10⁻⁴", "lower", "mean squared error"
    )

    def value(self, example: Example, image: Picture) -> float:
        """Times 10,000."""
        return 1e4 * _error(example, image)


class CleanPsnrUnedit(PerSample):
    """PSNR of the background's pixels."""

    INFO = _info(
        "clean_psnr_unedit",
        "clean.psnr.unedit.area.cap50",
        "dB",
        "higher",
        "PSNR (capped at 50 dB)",
    )

    def value(self, example: Example, image: Picture) -> float:
        """Decibels, at most 50."""
        return psnr(_error(example, image))


def _error(example: Example, image: Picture) -> float:
    return squared_error(example.condition, fitted(example, image), outside(example))
