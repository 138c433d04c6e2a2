"""Does the picture hold what it should, where it should? By the suite's segmenter, against truth.

Legend: N samples, K classes (true, found), H × W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from editar_bench.contracts import MetricInfo
from editar_bench.metrics._base import EVERY_TASK, Judged, PerSample, Undefined, truth_map
from editar_bench.types import Example, Picture, Task

CLASSES = 9  # sky, ground, seven shapes


class SegMiou(Judged):
    """Mean over classes of intersection over union, of confusion matrices pooled over the set.

    The mean is over the classes that the set's truth contains; a class that is only found counts
    in the unions of the others.
    """

    NEEDS = ("segmenter",)
    INFO = MetricInfo(
        name="seg_miou",
        protocol="scenes.seg.miou.pooled9.v1",
        unit="share",
        direction="higher",
        version=1,
        tasks=frozenset({Task.SEGMENTATION}),
        gap="shuffled",
        set_level=True,
        description="mean IoU over sky, ground and one class a shape, pooled over the set",
    )

    def observe(
        self, examples: Sequence[Example], images: Sequence[Picture]
    ) -> list[NDArray[np.int64]]:
        """A confusion matrix (K, K) per sample: pixels by true (row) and found (column) class; none without a truth."""
        readings = self.judges.segment(images)
        return [
            _confusion(e.truth["label"], reading["label"])
            if "label" in e.truth
            else np.zeros((CLASSES, CLASSES), dtype=np.int64)
            for e, reading in zip(examples, readings, strict=True)
        ]

    def counted(self, observations: NDArray[Any]) -> NDArray[np.bool_]:
        """Those of samples that have a true map."""
        there: NDArray[np.bool_] = observations.sum((1, 2)) > 0
        return there

    def reduce(self, observations: NDArray[Any]) -> float | None:
        """From (N, K, K) to the mean IoU; None without any true pixel."""
        pooled = observations.astype(np.int64).sum(0)
        right = np.diag(pooled)
        true, found = pooled.sum(1), pooled.sum(0)
        present = true > 0
        if not present.any():
            return None
        union = true + found - right
        return float((right[present] / union[present]).mean())


class _ObjectAccuracy(PerSample):
    NEEDS = ("segmenter",)
    MAP: ClassVar[str]

    def prefetch(self, examples: Sequence[Example], images: Sequence[Picture]) -> None:
        """Read the results."""
        self.judges.segment(images)

    def value(self, example: Example, image: Picture) -> float:
        """Share of the pixels of true objects that have the truth's value."""
        true = truth_map(example, self.MAP)
        objects = true != 0
        if not objects.any():
            raise Undefined("the true picture shows no object")
        (reading,) = self.judges.segment([image])
        return float((reading[self.MAP] == true)[objects].mean())


class ColorAccuracy(_ObjectAccuracy):
    """Object colors."""

    MAP = "color"
    INFO = MetricInfo(
        name="color_accuracy",
        protocol="scenes.color-accuracy.objects.v1",
        unit="share",
        direction="higher",
        version=1,
        tasks=EVERY_TASK,
        description="share of the pixels of true objects where the segmenter finds their color",
    )


class MaterialAccuracy(_ObjectAccuracy):
    """Object materials."""

    MAP = "material"
    INFO = MetricInfo(
        name="material_accuracy",
        protocol="scenes.material-accuracy.objects.v1",
        unit="share",
        direction="higher",
        version=1,
        tasks=EVERY_TASK,
        description="share of the pixels of true objects where the segmenter finds their material",
    )


def _confusion(true: NDArray[Any], found: NDArray[Any]) -> NDArray[np.int64]:
    pairs = true.astype(np.int64).ravel() * CLASSES + found.astype(np.int64).ravel()
    return np.bincount(pairs, minlength=CLASSES**2).reshape(CLASSES, CLASSES)
