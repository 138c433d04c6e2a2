"""Did the edit happen, and nothing else? One yes or no a sample.

`edit_success` looks at the whole mask. Half of a mask often is what it was before (the margin,
shadows), so that on most samples copying the source passes its inside rule; `edit_success_changed`
looks only at pixels that the edit visibly changes, and asks there for the truth's color values too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from editar_bench.contracts import MetricInfo
from editar_bench.metrics._base import EDIT, PerSample, Undefined, outside, target, truth_map
from editar_bench.types import Example, Picture

MAPS = ("label", "color", "material")
INSIDE_SHARE = 0.5  # of the pixels that must carry the truth's class, color and material
OUTSIDE_SHARE = 0.95  # of the pixels that must be unchanged
# A pixel is unchanged when no channel differs by more. A codec round trip at about 28 dB has an
# error of 10/255 (root mean square); blur at edges is more than twice that, a new color far more.
TOLERANCE = 24


class _Success(PerSample):
    NEEDS = ("segmenter",)

    def prefetch(self, examples: Sequence[Example], images: Sequence[Picture]) -> None:
        """Read the results."""
        self.judges.segment(images)

    def agreement(self, example: Example, image: Picture) -> NDArray[np.bool_]:
        """Pixels (H, W) whose class, color and material by the segmenter are all the truth's."""
        (reading,) = self.judges.segment([image])
        agreed = [reading[name] == truth_map(example, name) for name in MAPS]
        both: NDArray[np.bool_] = np.logical_and.reduce(agreed)
        return both


class EditSuccess(_Success):
    """Inside the mask by class, color and material, outside by unchanged pixels."""

    INFO = MetricInfo(
        name="edit_success",
        protocol="scenes.edit-success.mask.v1",
        unit="share",
        direction="higher",
        version=1,
        tasks=EDIT,
        description="half of the mask has the truth's class, color and material by the segmenter, "
        "and 95 % of the pixels outside are within 24/255 of the source",
    )

    def value(self, example: Example, image: Picture) -> float:
        """1 or 0; edits without an outside do not change what the maps say, so are undefined."""
        rest = outside(example)
        if rest.all():
            raise Undefined("the edit mask is empty")
        right = self.agreement(example, image)[~rest].mean() >= INSIDE_SHARE
        return float(right and _unchanged(example, image, rest))


class EditSuccessChanged(_Success):
    """The same over visibly changed pixels, which must also be nearer to the truth in color."""

    INFO = MetricInfo(
        name="edit_success_changed",
        protocol="scenes.edit-success.changed.v1",
        unit="share",
        direction="higher",
        version=1,
        tasks=EDIT,
        gap="copy-source",
        description="half of the pixels that the edit changes by more than 24/255 have the truth's "
        "class, color and material by the segmenter, half are nearer to the truth than to the "
        "source, and 95 % of the pixels outside the mask are within 24/255 of the source",
    )

    def value(self, example: Example, image: Picture) -> float:
        """1 or 0."""
        truth = target(example)
        changed = _difference(example.condition, truth).max(-1) > TOLERANCE
        if not changed.any():
            raise Undefined(f"the edit changes no pixel by more than {TOLERANCE}/255")
        attributes = self.agreement(example, image)[changed].mean() >= INSIDE_SHARE
        to_truth = (_difference(image, truth) ** 2).sum(-1)
        to_source = (_difference(image, example.condition) ** 2).sum(-1)
        nearer = (to_truth < to_source)[changed].mean() >= INSIDE_SHARE
        kept = example.edit_mask is None or _unchanged(example, image, ~example.edit_mask)
        return float(attributes and nearer and kept)


def _unchanged(example: Example, image: Picture, where: NDArray[np.bool_]) -> bool:
    """Whether enough pixels of the region (H, W) are those of the source; an empty region is."""
    if not where.any():
        return True
    same = _difference(image, example.condition).max(-1) <= TOLERANCE
    return bool(same[where].mean() >= OUTSIDE_SHARE)


def _difference(a: Picture, b: Picture) -> NDArray[np.int64]:
    """Absolute differences (H, W, 3) of channels in 0..255."""
    return np.abs(a.astype(np.int64) - b.astype(np.int64))
