"""Edge agreement in its published forms: canny of the result against canny of the source photograph.

ControlNet++ and EditAR take kornia's canny at 0.1 and 0.2, ControlAR OpenCV's at 100 and 200. F1 is over the very
pixels, without tolerance. The clean variant is the suite's own F1 with one pixel of tolerance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from editar_bench.conditions import canny_published
from editar_bench.contracts import MetricInfo
from editar_bench.evaluators.feature_files import Features
from editar_bench.metrics import _edges
from editar_bench.metrics._base import Judged, PerSample, target
from editar_bench.metrics._edges import Edges
from editar_bench.metrics._groups import by_prompt, tag, whole_prompts
from editar_bench.types import Example, Picture, Task

PSNR_OF_EQUAL = 100.0  # decibels, in place of infinity, as ControlNet++ has it


def _info(name: str, protocol: str, unit: str, what: str, *, set_level: bool = False) -> MetricInfo:
    return MetricInfo(
        name=name,
        protocol=protocol,
        unit=unit,
        direction="higher",
        version=2,
        tasks=frozenset({Task.EDGE}),
        gap="shuffled",
        set_level=set_level,
        description=f"{what} of edge maps of result and source",
    )


def _canny_opencv(pictures: Sequence[Picture]) -> list[Features]:
    from editar_bench.metrics._canny_opencv import canny_opencv

    return [{"edges": canny_opencv(picture)} for picture in pictures]


def _canny_kornia(pictures: Sequence[Picture]) -> list[Features]:
    return [{"edges": canny_published(picture)[..., 0] > 127} for picture in pictures]


Detector = tuple[str, Callable[[Sequence[Picture]], list[Features]]]  # store key, function
_KORNIA: Detector = ("canny-kornia-0.1-0.2-float32", _canny_kornia)
_OPENCV: Detector = ("canny-opencv-100-200", _canny_opencv)


class _Edges(Judged):
    DETECTOR: ClassVar[Detector]

    def pairs(
        self, examples: Sequence[Example], images: Sequence[Picture]
    ) -> list[tuple[Edges, Edges]]:
        """Edges (H, W) of each result, and of its source photograph."""
        truths = [target(example) for example in examples]
        found = self.judges.store.get([*images, *truths], *self.DETECTOR)
        maps = [features["edges"] for features in found]
        return list(zip(maps[: len(images)], maps[len(images) :], strict=True))


class _Agreement(_Edges, PerSample):
    def prefetch(self, examples: Sequence[Example], images: Sequence[Picture]) -> None:
        """Find the edges of a batch."""
        known = [i for i, example in enumerate(examples) if example.target is not None]
        self.pairs([examples[i] for i in known], [images[i] for i in known])

    def value(self, example: Example, image: Picture) -> float:
        """The agreement of found and true edges."""
        ((found, true),) = self.pairs([example], [image])
        return self.agreement(found, true)

    def agreement(self, found: Edges, true: Edges) -> float:
        """Of two maps of one size."""
        raise NotImplementedError


class CannyF1(_Agreement):
    """EditAR's."""

    DETECTOR = _KORNIA
    INFO = _info("canny_f1", "canny.kornia01-02.x1", "%", "F1 per picture (kornia canny)")

    def agreement(self, found: Edges, true: Edges) -> float:
        """Percent; 0 where neither has an edge, as torchmetrics."""
        return 100 * f1_of_counts(counts(found, true))


class CannyF1OpenCv(CannyF1):
    """ControlAR's."""

    DETECTOR = _OPENCV
    INFO = _info("canny_f1_opencv", "canny.cv100-200.x1", "%", "F1 per picture (OpenCV canny)")


class CannyF1Pooled(_Edges):
    """ControlNet++'s: the pixels of a prompt's four pictures pooled, then the mean over prompts."""

    DETECTOR = _KORNIA
    INFO = _info(
        "canny_f1_pooled",
        "canny.kornia01-02.pool4",
        "%",
        "F1 of four pictures a prompt, pooled (kornia canny),",
        set_level=True,
    )

    def observe(
        self, examples: Sequence[Example], images: Sequence[Picture]
    ) -> list[NDArray[np.float64]]:
        """The sample's tag, then true positives, false positives, false negatives; NaN without a photograph."""
        known = [i for i, example in enumerate(examples) if example.target is not None]
        rows = [np.array([tag(example.id), *[np.nan] * 3]) for example in examples]
        pairs = self.pairs([examples[i] for i in known], [images[i] for i in known])
        for i, pair in zip(known, pairs, strict=True):
            rows[i][1:] = counts(*pair)
        return rows

    def counted(self, observations: NDArray[Any]) -> NDArray[np.bool_]:
        """Four pictures of every prompt that has them."""
        return whole_prompts(observations)

    def reduce(self, observations: NDArray[Any]) -> float | None:
        """Percent; None unless every prompt has four pictures."""
        groups = by_prompt(observations)
        if groups is None:
            return None
        return 100 * float(np.mean([f1_of_counts(group) for group in groups.sum(1)]))


class CannyMsSsim(_Agreement):
    """Multi-scale SSIM per picture; ControlNet++'s mean over four pictures is the same mean."""

    DETECTOR = _KORNIA
    INFO = _info(
        "canny_ms_ssim", "canny.kornia01-02.msssim", "MS-SSIM", "multi-scale SSIM (kornia canny)"
    )

    def agreement(self, found: Edges, true: Edges) -> float:
        """In [0, 1]."""
        import torch

        from editar_bench.metrics._ssim import ms_ssim

        maps = [torch.from_numpy(edges).float()[None, None] for edges in (found, true)]
        return float(ms_ssim(*maps))


class CannyMsSsimOpenCv(CannyMsSsim):
    """The same of OpenCV's edges."""

    DETECTOR = _OPENCV
    INFO = _info(
        "canny_ms_ssim_opencv",
        "canny.cv100-200.msssim",
        "MS-SSIM",
        "multi-scale SSIM (OpenCV canny)",
    )


class CannyPsnr(_Agreement):
    """EditAR's; ControlNet++ has one PSNR of four pictures together, which is lower."""

    DETECTOR = _KORNIA
    INFO = _info("canny_psnr", "canny.kornia01-02.psnr", "dB", "PSNR (kornia canny)")

    def agreement(self, found: Edges, true: Edges) -> float:
        """Decibels; 100 for equal maps."""
        error = float((found != true).mean())
        return -10 * float(np.log10(error)) if error else PSNR_OF_EQUAL


class CleanCannyF1(_Agreement):
    """F1 with one pixel of tolerance: an edge that moved by a pixel is still that edge."""

    DETECTOR = _KORNIA
    INFO = _info(
        "clean_canny_f1",
        "clean.canny.kornia01-02.tol1",
        "%",
        "F1 with one pixel of tolerance (kornia canny)",
    )

    def agreement(self, found: Edges, true: Edges) -> float:
        """Percent; 0 where either map has no edge."""
        if not true.any():
            return 0.0
        return 100 * _edges.f1(found, true, _edges.near(found), _edges.near(true))


def counts(found: Edges, true: Edges) -> tuple[int, int, int]:
    """True positives, false positives, false negatives."""
    hits = int((found & true).sum())
    return hits, int(found.sum()) - hits, int(true.sum()) - hits


def f1_of_counts(counted: Sequence[float] | NDArray[Any]) -> float:
    """F1 of (true positives, false positives, false negatives); 0 where there is nothing."""
    hits, extra, missed = (float(n) for n in counted)
    return 2 * hits / (2 * hits + extra + missed) if hits else 0.0
