"""How exactly a picture repeats the true one on its objects.

Beside a model it says little, because a caption does not determine every pixel; beside a codec it is the figure that
whole-picture PSNR hides: sky and ground are easy, objects are small.
"""

from __future__ import annotations

import numpy as np

from editar_bench.contracts import MetricInfo
from editar_bench.metrics._base import EVERY_TASK, PerSample, Undefined, target, truth_map
from editar_bench.metrics._distances import psnr, squared_error
from editar_bench.types import Example, Picture

FIRST_OBJECT = 2  # labels 0 and 1 are sky and ground


class PsnrObjects(PerSample):
    """PSNR against the truth inside the objects."""

    INFO = MetricInfo(
        name="psnr_objects",
        protocol="scenes.psnr-truth.objects.cap50.v1",
        unit="dB",
        direction="higher",
        version=1,
        tasks=EVERY_TASK,
        description="PSNR against the true picture over the pixels of objects, capped at 50 dB",
    )

    def value(self, example: Example, image: Picture) -> float:
        """Decibels, at most 50."""
        inside = np.greater_equal(truth_map(example, "label"), FIRST_OBJECT)
        if not inside.any():
            raise Undefined("the true picture shows no object")
        return psnr(squared_error(image, target(example), inside))
