"""How near an edit comes to the true edited picture, inside and outside the mask.

Area-normalized: the mean is over the pixels of the region. Where an edit has no outside
(background, style), inside is the whole picture and outside is undefined.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from editar_bench.contracts import Direction, MetricInfo
from editar_bench.evaluators.judges import LEVELS
from editar_bench.metrics._base import EDIT, PerSample, inside, outside, target
from editar_bench.metrics._distances import perceptual, psnr, squared_error
from editar_bench.types import Example, Picture

Region = Callable[[Example], NDArray[np.bool_]]


def _info(
    name: str,
    protocol: str,
    unit: str,
    direction: Direction,
    gap: Literal["copy-source", "none"],
    what: str,
) -> MetricInfo:
    return MetricInfo(
        name=name,
        protocol=protocol,
        unit=unit,
        direction=direction,
        version=1,
        tasks=EDIT,
        gap=gap,
        description=f"{what}, against the true edited picture, mean over the region's pixels",
    )


class _Squared(PerSample):
    REGION: ClassVar[Region]

    def value(self, example: Example, image: Picture) -> float:
        """Mean squared difference of colors in [0, 1], times 10,000."""
        return 1e4 * squared_error(image, target(example), type(self).REGION(example))


class _Psnr(PerSample):
    REGION: ClassVar[Region]

    def value(self, example: Example, image: Picture) -> float:
        """Decibels, at most 50."""
        return psnr(squared_error(image, target(example), type(self).REGION(example)))


class _Perceptual(PerSample):
    NEEDS = ("segmenter",)
    REGION: ClassVar[Region]

    def prefetch(self, examples: Sequence[Example], images: Sequence[Picture]) -> None:
        """Read truths and results."""
        truths = [e.target for e in examples if e.target is not None]
        self.judges.segment([*truths, *images])

    def value(self, example: Example, image: Picture) -> float:
        """Times 1000; features of the whole pictures, positions weighted by the region."""
        region = type(self).REGION(example)
        a, b = self.judges.segment([image, target(example)])
        return 1e3 * perceptual([a[k] for k in LEVELS], [b[k] for k in LEVELS], region)


class SquaredErrorInside(_Squared):
    """Squared error inside the mask."""

    REGION = inside
    INFO = _info(
        "squared_error_inside",
        "scenes.mse-truth.inside.v1",
        "×10⁻⁴",
        "lower",
        "copy-source",
        "squared error inside the edit mask",
    )


class SquaredErrorOutside(_Squared):
    """Squared error outside the mask."""

    REGION = outside
    INFO = _info(
        "squared_error_outside",
        "scenes.mse-truth.outside.v1",
        "×10⁻⁴",
        "lower",
        "none",
        "squared error outside the edit mask",
    )


class PsnrInside(_Psnr):
    """PSNR inside the mask."""

    REGION = inside
    INFO = _info(
        "psnr_inside",
        "scenes.psnr-truth.inside.cap50.v1",
        "dB",
        "higher",
        "copy-source",
        "PSNR inside the edit mask, capped at 50 dB",
    )


class PsnrOutside(_Psnr):
    """PSNR outside the mask."""

    REGION = outside
    INFO = _info(
        "psnr_outside",
        "scenes.psnr-truth.outside.cap50.v1",
        "dB",
        "higher",
        "none",
        "PSNR outside the edit mask, capped at 50 dB",
    )


class PerceptualInside(_Perceptual):
    """Perceptual distance inside the mask."""

    REGION = inside
    INFO = _info(
        "perceptual_inside",
        "scenes.perceptual-truth.inside.segmenter.v1",
        "×10⁻³",
        "lower",
        "copy-source",
        "distance of segmenter features inside the edit mask",
    )


class PerceptualOutside(_Perceptual):
    """Perceptual distance outside the mask."""

    REGION = outside
    INFO = _info(
        "perceptual_outside",
        "scenes.perceptual-truth.outside.segmenter.v1",
        "×10⁻³",
        "lower",
        "none",
        "distance of segmenter features outside the edit mask",
    )
