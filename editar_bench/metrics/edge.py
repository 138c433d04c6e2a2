"""Does the picture have the edges it was asked for? Both maps by kornia's canny, 0.1 and 0.2.

Legend: H × W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from editar_bench.contracts import MetricInfo
from editar_bench.metrics._base import PerSample, Undefined
from editar_bench.metrics._distances import ssim
from editar_bench.metrics._edges import EXTRACTOR, canny, f1, near
from editar_bench.types import Example, Picture, Task

EDGE = frozenset({Task.EDGE})


class _Edges(PerSample):
    def prefetch(self, examples: Sequence[Example], images: Sequence[Picture]) -> None:
        """Find the edges of a batch."""
        self.edges(images)

    def edges(self, images: Sequence[Picture]) -> list[NDArray[np.bool_]]:
        """Edges (H, W) of each picture."""
        return [f["edges"] for f in self.judges.store.get(images, EXTRACTOR, canny)]


class EdgeF1(_Edges):
    """F1 with one pixel of tolerance.

    A found edge pixel is right within Chebyshev distance 1 of a true one (precision), a true one
    is found within distance 1 of a found one (recall).
    """

    INFO = MetricInfo(
        name="edge_f1",
        protocol="scenes.edge.f1.canny-kornia01-02.tol1.v1",
        unit="share",
        direction="higher",
        version=2,  # canny in float64
        tasks=EDGE,
        gap="shuffled",
        description="F1 of edge pixels per picture, one pixel of tolerance",
    )

    def value(self, example: Example, image: Picture) -> float:
        """F1; 0 where the picture has no edges at all."""
        (found,) = self.edges([image])
        true = _true_edges(example)
        return f1(found, true, near(found), near(true))


class EdgeF1Exact(_Edges):
    """F1 of the very pixels, as ControlNet++ and EditAR count."""

    INFO = MetricInfo(
        name="edge_f1_exact",
        protocol="scenes.edge.f1.canny-kornia01-02.x1.v1",
        unit="share",
        direction="higher",
        version=2,  # canny in float64
        tasks=EDGE,
        gap="shuffled",
        description="F1 of edge pixels per picture, no tolerance",
    )

    def value(self, example: Example, image: Picture) -> float:
        """F1; 0 where the picture has no edges at all."""
        (found,) = self.edges([image])
        true = _true_edges(example)
        return f1(found, true, found, true)


class EdgeSsim(_Edges):
    """Structural similarity of the two edge maps."""

    INFO = MetricInfo(
        name="edge_ssim",
        protocol="scenes.edge.ssim.canny-kornia01-02.v1",
        unit="SSIM",
        direction="higher",
        version=2,  # canny in float64
        tasks=EDGE,
        gap="shuffled",
        description="SSIM of edge maps, torchmetrics' defaults",
    )

    def value(self, example: Example, image: Picture) -> float:
        """In [-1, 1]."""
        (found,) = self.edges([image])
        true = _condition_edges(example)
        return ssim(_as_picture(found), _as_picture(true))


def _condition_edges(example: Example) -> NDArray[np.bool_]:
    """The map that the model was given: the edges of the true picture."""
    edges: NDArray[np.bool_] = example.condition[..., 0] > 127
    return edges


def _true_edges(example: Example) -> NDArray[np.bool_]:
    edges = _condition_edges(example)
    if not edges.any():
        raise Undefined("the true picture has no edges")
    return edges


def _as_picture(edges: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """(H, W, 1), 0 or 255."""
    return (edges[..., None] * 255).astype(np.uint8)
