"""PIE-Bench's metrics in their scenes form: what an edit leaves of the source.

Ju et al. 2024 (PnP Inversion). The constants are theirs; DINO and LPIPS give way to the suite's
segmenter, hence the names. Scales are those of the published tables.
"""

from __future__ import annotations

from collections.abc import Sequence

from editar_bench.contracts import MetricInfo
from editar_bench.evaluators.judges import LEVELS
from editar_bench.metrics._base import EDIT, PerSample, Undefined, blacken, outside
from editar_bench.metrics._distances import perceptual, psnr, squared_error, ssim, structure
from editar_bench.types import Example, Picture

_WHOLE_FRAME = "both pictures times (1 - mask), blackened pixels counted, against the source"


class StructureDistance(PerSample):
    """Do the parts of the picture relate to each other as in the source?

    Whole picture, no mask: self-similarity of the segmenter's features at 1/4 of the resolution.
    """

    NEEDS = ("segmenter",)
    INFO = MetricInfo(
        name="structure_distance",
        protocol="scenes.structure.segmenter4.v1",
        unit="×10⁻³",
        direction="lower",
        version=1,
        tasks=EDIT,
        description="squared difference of self-similarities of segmenter features, to the source",
    )

    def prefetch(self, examples: Sequence[Example], images: Sequence[Picture]) -> None:
        """Read sources and results."""
        self.judges.segment([*(e.condition for e in examples), *images])

    def value(self, example: Example, image: Picture) -> float:
        """Times 1000."""
        source, result = self.judges.segment([example.condition, image])
        return 1e3 * structure(source["quarter"], result["quarter"])


class PerceptualUnedited(PerSample):
    """Perceptual distance to the source outside the mask, both blackened inside it."""

    NEEDS = ("segmenter",)
    INFO = MetricInfo(
        name="perceptual_unedited",
        protocol="scenes.perceptual-unedited.segmenter.frame.v1",
        unit="×10⁻³",
        direction="lower",
        version=1,
        tasks=EDIT,
        description=f"distance of segmenter features; {_WHOLE_FRAME}",
    )

    def prefetch(self, examples: Sequence[Example], images: Sequence[Picture]) -> None:
        """Read the blackened pictures that exist."""
        pairs = zip(examples, images, strict=True)
        self.judges.segment([p for e, image in pairs for p in _try_blackened(e, image)])

    def value(self, example: Example, image: Picture) -> float:
        """Times 1000."""
        a, b = self.judges.segment(_blackened(example, image))
        return 1e3 * perceptual([a[k] for k in LEVELS], [b[k] for k in LEVELS])


class PsnrUnedited(PerSample):
    """PSNR outside the mask over the whole frame, capped: PIE-Bench has inf for equal pictures."""

    INFO = MetricInfo(
        name="psnr_unedited",
        protocol="scenes.psnr-unedited.frame.cap50.v1",
        unit="dB",
        direction="higher",
        version=1,
        tasks=EDIT,
        description=f"capped at 50 dB; {_WHOLE_FRAME}",
    )

    def value(self, example: Example, image: Picture) -> float:
        """Decibels, at most 50."""
        return psnr(_frame_error(example, image))


class MseUnedited(PerSample):
    """Mean squared error outside the mask over the whole frame."""

    INFO = MetricInfo(
        name="mse_unedited",
        protocol="scenes.mse-unedited.frame.v1",
        unit="×10⁻⁴",
        direction="lower",
        version=1,
        tasks=EDIT,
        description=_WHOLE_FRAME,
    )

    def value(self, example: Example, image: Picture) -> float:
        """Times 10,000."""
        return 1e4 * _frame_error(example, image)


class SsimUnedited(PerSample):
    """Structural similarity outside the mask over the whole frame."""

    INFO = MetricInfo(
        name="ssim_unedited",
        protocol="scenes.ssim-unedited.frame.v1",
        unit="×10⁻²",
        direction="higher",
        version=1,
        tasks=EDIT,
        description=f"torchmetrics' defaults; {_WHOLE_FRAME}",
    )

    def value(self, example: Example, image: Picture) -> float:
        """Times 100."""
        return 100 * ssim(*_blackened(example, image))


def _blackened(example: Example, image: Picture) -> list[Picture]:
    keep = outside(example)
    return [blacken(example.condition, keep), blacken(image, keep)]


def _try_blackened(example: Example, image: Picture) -> list[Picture]:
    try:
        return _blackened(example, image)
    except Undefined:
        return []


def _frame_error(example: Example, image: Picture) -> float:
    source, result = _blackened(example, image)
    everywhere = outside(example) | True
    return squared_error(source, result, everywhere)
