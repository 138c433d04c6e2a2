"""Edge maps and their agreement, for the suite's own edge metrics and the published ones.

Legend: B pictures, H × W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from editar_bench.conditions import canny_kornia_batch
from editar_bench.evaluators.feature_files import Features
from editar_bench.types import Picture

Edges = NDArray[np.bool_]  # (H, W)
EXTRACTOR = "canny-kornia-0.1-0.2-float64"  # the key of `canny` in the feature store


def canny(images: Sequence[Picture]) -> list[Features]:
    """The edges of each picture, by kornia's canny at 0.1 and 0.2, under "edges"."""
    import torch

    edges_BHW3 = canny_kornia_batch(torch.from_numpy(np.stack(images)))
    return [{"edges": edges_HW} for edges_HW in edges_BHW3[..., 0].numpy() > 127]


def f1(found: Edges, true: Edges, near_found: Edges, near_true: Edges) -> float:
    """F1 of found edges, right inside `near_true`, and true edges, met inside `near_found`; 0 where none is found."""
    if not found.any():
        return 0.0
    precision = float((found & near_true).sum() / found.sum())
    recall = float((true & near_found).sum() / true.sum())
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def near(edges: Edges) -> Edges:
    """Pixels within Chebyshev distance 1."""
    from scipy.ndimage import binary_dilation

    grown: Edges = binary_dilation(edges, np.ones((3, 3), dtype=bool))
    return grown
