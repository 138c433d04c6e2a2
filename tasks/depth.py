"""A picture from a depth map and a caption."""

from __future__ import annotations

from editar_bench.types import Task
from tasks._scenes import COMMON, SceneTask


class SceneDepth(SceneTask):
    """Scenes from their exact depth."""

    task = Task.DEPTH
    metrics = ("depth_rmse", *COMMON)


class SceneDepthValidation(SceneDepth):
    """The same on the validation split: for tuning, never for a result."""

    dataset = "scenes-validation"
    default_split = "validation"
