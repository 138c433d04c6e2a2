"""A picture from a palette label map and a caption."""

from __future__ import annotations

from editar_bench.types import Task
from tasks._scenes import COMMON, SceneTask


class SceneSegmentation(SceneTask):
    """Scenes from their exact label map."""

    task = Task.SEGMENTATION
    metrics = ("seg_miou", *COMMON)


class SceneSegmentationValidation(SceneSegmentation):
    """The same on the validation split: for tuning, never for a result."""

    dataset = "scenes-validation"
    default_split = "validation"
