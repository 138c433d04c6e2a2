"""Follow an instruction: change what it names, keep the rest."""

from __future__ import annotations

from editar_bench.types import Task
from tasks._scenes import COMMON, SceneTask


class SceneEdit(SceneTask):
    """Nine edit types on scenes, with the true picture after every edit."""

    task = Task.EDIT
    metrics = (
        "edit_success",
        "edit_success_changed",
        "squared_error_inside",
        "psnr_inside",
        "perceptual_inside",
        "squared_error_outside",
        "psnr_outside",
        "perceptual_outside",
        "structure_distance",
        "psnr_unedited",
        "perceptual_unedited",
        "mse_unedited",
        "ssim_unedited",
        "clip_edited",
        *COMMON,
    )


class SceneEditValidation(SceneEdit):
    """The same on the validation split: for tuning, never for a result."""

    dataset = "scenes-validation"
    default_split = "validation"
