"""Does the picture have the depth it was asked for?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from editar_bench.contracts import MetricInfo
from editar_bench.metrics._base import PerSample, truth_map
from editar_bench.types import Example, Picture, Task


class DepthRmse(PerSample):
    """Root mean squared error of inverse depth per picture; no alignment of scale or shift.

    The truth is the exact map, `truth["inverse_depth"]` in [0, 1] with the suite's fixed near and
    far (sky 0); the prediction is the depth estimator's.
    """

    NEEDS = ("depth",)
    INFO = MetricInfo(
        name="depth_rmse",
        protocol="scenes.depth.rmse.invdepth.v1",
        unit="inverse depth in [0, 1]",
        direction="lower",
        version=1,
        tasks=frozenset({Task.DEPTH}),
        gap="shuffled",
        description="estimated against exact inverse depth, one fixed near and far, sky 0",
    )

    def prefetch(self, examples: Sequence[Example], images: Sequence[Picture]) -> None:
        """Estimate a batch."""
        self.judges.inverse_depth(images)

    def value(self, example: Example, image: Picture) -> float:
        """Root of the mean over all pixels."""
        (estimated,) = self.judges.inverse_depth([image])
        exact = truth_map(example, "inverse_depth")
        difference = estimated.astype(np.float64) - exact.astype(np.float64)
        return float(np.sqrt(np.mean(difference**2)))
