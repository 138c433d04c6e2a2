"""The metrics that come with the harness: registry name to "module:class", imported when used."""

from __future__ import annotations

_FILES = {
    "preservation": {
        "structure_distance": "StructureDistance",
        "perceptual_unedited": "PerceptualUnedited",
        "psnr_unedited": "PsnrUnedited",
        "ssim_unedited": "SsimUnedited",
        "mse_unedited": "MseUnedited",
    },
    "edit_truth": {
        "squared_error_inside": "SquaredErrorInside",
        "squared_error_outside": "SquaredErrorOutside",
        "psnr_inside": "PsnrInside",
        "psnr_outside": "PsnrOutside",
        "perceptual_inside": "PerceptualInside",
        "perceptual_outside": "PerceptualOutside",
    },
    "edit_success": {
        "edit_success": "EditSuccess",
        "edit_success_changed": "EditSuccessChanged",
    },
    "clip_text": {"clip_score": "ClipScore", "clip_edited": "ClipEdited"},
    "depth": {"depth_rmse": "DepthRmse"},
    "edge": {"edge_f1": "EdgeF1", "edge_f1_exact": "EdgeF1Exact", "edge_ssim": "EdgeSsim"},
    "segmentation": {
        "seg_miou": "SegMiou",
        "color_accuracy": "ColorAccuracy",
        "material_accuracy": "MaterialAccuracy",
    },
    "distribution": {"kernel_distance": "KernelDistance"},
}

BUILTIN: dict[str, str] = {
    name: f"editar_bench.metrics.{file}:{attribute}"
    for file, classes in _FILES.items()
    for name, attribute in classes.items()
}
