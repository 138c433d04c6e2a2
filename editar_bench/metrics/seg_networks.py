"""Pooled mIoU by the published segmenters: DeepLabV3 on COCO-Stuff, Mask2Former on ADE20K.

`seg_published` has the conventions. The unit is percent.
Legend: N pictures, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from editar_bench.contracts import MetricInfo
from editar_bench.metrics._groups import (
    by_prompt,
    first_pictures,
    tag,
    whole_prompts,
    with_values,
)
from editar_bench.metrics._released import ReadsReleased
from editar_bench.metrics.seg_published import (
    ADE,
    ADE_SHIFTED,
    COCO,
    Convention,
    pixel_counts,
    pooled_miou,
)
from editar_bench.types import Example, Picture, Task


def _info(name: str, protocol: str, what: str) -> MetricInfo:
    return MetricInfo(
        name=name,
        protocol=protocol,
        unit="%",
        direction="higher",
        version=1,
        tasks=frozenset({Task.SEGMENTATION}),
        gap="shuffled",
        set_level=True,
        description=f"mean IoU, pooled over the set, by {what}",
    )


class _PooledMiou(ReadsReleased):
    CONVENTION: ClassVar[Convention]
    SIDE: ClassVar[int] = 512  # pixels of the short side that the segmenter is shown
    PICTURES: ClassVar[Literal[1, 4] | None] = None  # of a prompt that count; all without it

    def observe(
        self, examples: Sequence[Example], images: Sequence[Picture]
    ) -> list[NDArray[np.float64]]:
        """The sample's tag, then pixels per class: right, labeled, found; (1 + 3K,), NaN without a label map."""
        (role,), side = self.ROLES, self.SIDE

        def compute(network: Any, pictures: Sequence[Picture]) -> dict[str, Any]:
            return {"classes": network.classes(pictures, side).byte()}

        readings = self.networks.read(images, role, f"classes{side}", compute)
        return [
            np.array([tag(example.id), *self._counts(example, reading["classes"]).ravel()])
            for example, reading in zip(examples, readings, strict=True)
        ]

    def counted(self, observations: NDArray[Any]) -> NDArray[np.bool_]:
        """Four pictures of every prompt that has them, or the first one, as the protocol wants."""
        if self.PICTURES == 4:
            return whole_prompts(observations)
        if self.PICTURES == 1:
            return first_pictures(observations)
        return with_values(observations)

    def reduce(self, observations: NDArray[Any]) -> float | None:
        """Percent; None where no class occurs, or a prompt has not the four pictures that the protocol wants."""
        if self.PICTURES == 4 and by_prompt(observations) is None:
            return None
        return pooled_miou(observations[:, 1:].reshape(-1, 3, self.CONVENTION.classes))

    def _counts(self, example: Example, found: NDArray[np.uint8]) -> NDArray[Any]:
        if "label" not in example.truth:
            return np.full((3, self.CONVENTION.classes), np.nan)
        return pixel_counts(np.asarray(example.truth["label"]), found, self.CONVENTION)


class SegAde(_PooledMiou):
    """ControlNet++'s."""

    ROLES = ("mask2former-ade",)
    CONVENTION, PICTURES = ADE, 4
    INFO = _info("seg_ade", "seg.ade.m2f.s512.x4", "Mask2Former Swin-L, four pictures a prompt")


class SegAdeShifted(_PooledMiou):
    """ControlAR's: shown at 640 pixels, and the 150th class falls out."""

    ROLES = ("mask2former-ade",)
    CONVENTION, SIDE, PICTURES = ADE_SHIFTED, 640, 1
    INFO = _info("seg_ade_shifted", "seg.ade.m2f.s640.x1", "Mask2Former Swin-L at 640 pixels")


class SegCoco(_PooledMiou):
    """ControlNet++'s with four pictures a prompt, EditAR's with one: pixels are pooled, whatever their number."""

    ROLES = ("deeplab-coco",)
    CONVENTION = COCO
    INFO = _info("seg_coco", "seg.coco.dlv3.s512.x4", "DeepLabV3-R101")


class SegCocoPresent(SegCoco):
    """ControlAR's: one picture a prompt, over the classes that are present."""

    PICTURES = 1
    INFO = _info("seg_coco_present", "seg.coco.dlv3.s512.x1", "DeepLabV3-R101, classes present")
