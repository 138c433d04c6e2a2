"""A picture from an edge map and a caption."""

from __future__ import annotations

from editar_bench.types import Task
from tasks._scenes import COMMON, SceneTask


class SceneEdge(SceneTask):
    """Scenes from the canny edges of their picture."""

    task = Task.EDGE
    metrics = ("edge_f1", "edge_f1_exact", "edge_ssim", *COMMON)


class SceneEdgeValidation(SceneEdge):
    """The same on the validation split: for tuning, never for a result."""

    dataset = "scenes-validation"
    default_split = "validation"
