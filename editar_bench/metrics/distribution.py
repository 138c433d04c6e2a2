"""Are the pictures, as a set, like scenes? clean-fid's unbiased kernel distance.

Bińkowski et al. 2018. Features are the segmenter's, so the number is not a KID of Inception and
not called one.
Legend: N samples, M reference pictures, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from editar_bench.contracts import MetricInfo
from editar_bench.evaluators import weights
from editar_bench.evaluators.judges import Judges
from editar_bench.metrics._base import EVERY_TASK, Judged
from editar_bench.metrics._kernel import Cubing, sample_influences, seeded
from editar_bench.types import Example, Picture

SUBSETS = 10  # draws of as many reference pictures as there are samples
SUBSET_SIZE = 250  # pictures in a draw at most: the size of a test split


class KernelDistance(Judged):
    """Squared maximum mean discrepancy to 5,000 fixed renders, cubic polynomial kernel.

    Features are standardized by the reference's mean and deviation, so that each of them has a
    say. Unbiased: it is around zero, and may be below, for pictures of the same distribution.
    """

    NEEDS = ("segmenter",)
    INFO = MetricInfo(
        name="kernel_distance",
        protocol="scenes.kernel-distance.segmenter.ref5000.m250x10.v1",
        unit="×10⁻³",
        direction="lower",
        version=2,  # 1 kept a mark of the sample beside the embedding
        tasks=EVERY_TASK,
        set_level=True,
        description="clean-fid's kernel distance of segmenter features to 5,000 fixed renders",
    )

    def __init__(self, judges: Judges | None = None, reference: NDArray[Any] | None = None) -> None:
        super().__init__(judges)
        self._reference = reference

    def setup(self, device: str) -> None:
        """Load the segmenter and the reference embeddings."""
        super().setup(device)
        self.reference()

    def reference(self) -> NDArray[np.float64]:
        """The embeddings (M, D) of the reference pictures."""
        if self._reference is None:
            self._reference = weights.load_reference(self.judges.folder)
        return self._reference

    def observe(
        self, examples: Sequence[Example], images: Sequence[Picture]
    ) -> list[NDArray[np.float64]]:
        """The embedding, (D,)."""
        readings = self.judges.segment(images)
        return [reading["embedding"].astype(np.float64) for reading in readings]

    def reduce(self, observations: NDArray[Any]) -> float | None:
        """Times 1000; None for fewer than two samples."""
        from cleanfid.fid import kernel_distance

        if len(observations) < 2:
            return None
        with seeded():
            value = kernel_distance(
                *self._standardized(observations),
                num_subsets=SUBSETS,
                max_subset_size=SUBSET_SIZE,
            )
        return 1e3 * float(value)

    def influence(self, observations: NDArray[Any]) -> NDArray[np.float64]:
        """Of each picture, (N,), on the distance to the whole reference; clean-fid draws from it."""
        return 1e3 * sample_influences(*self._standardized(observations))

    def _standardized(self, observations: NDArray[Any]) -> tuple[Cubing, Cubing]:
        mean_D, deviation_D, reference_MD = self._scale
        return ((observations - mean_D) / deviation_D).view(Cubing), reference_MD

    @cached_property
    def _scale(self) -> tuple[NDArray[np.float64], NDArray[np.float64], Cubing]:
        reference = self.reference()
        mean_D, deviation_D = reference.mean(0), reference.std(0) + 1e-6
        return mean_D, deviation_D, ((reference - mean_D) / deviation_D).view(Cubing)
