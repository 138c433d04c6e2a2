"""Follow an instruction on photographs and paintings: PIE-Bench (Ju et al. 2024) under its published protocols."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from data_prep import pie_bench
from data_prep.paired import PairedExamples, split_path
from editar_bench.types import Example, Task
from tasks._scenes import data_folder

_REGIONAL = ("pie_structure", "pie_psnr", "pie_lpips", "pie_mse", "pie_ssim")


class PieBenchEdit:
    """700 samples of ten edit types; there is no true edited picture, so preservation and CLIP are scored."""

    task = Task.EDIT
    dataset = "pie-bench"
    metrics: Sequence[str] = (
        "pie_structure",  # the eight of the published tables first
        "pie_psnr_unedit",
        "pie_lpips_unedit",
        "pie_mse_unedit",
        "pie_ssim_unedit",
        "pie_clip_source",
        "pie_clip_whole",
        "pie_clip_edited",
        "clean_structure",
        "clean_psnr_unedit",
        "clean_mse_unedit",
        *_REGIONAL[1:],
        *(f"{name}_edit" for name in _REGIONAL),
        "pie_structure_unedit",
    )

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or data_folder().parent / self.dataset

    def load(self) -> Sequence[Example]:
        """The whole set; on first use read from the original archive in the folder `original` beside it."""
        return self._examples

    def fingerprint(self) -> str:
        """sha256 of texts, pictures and masks."""
        return self._fingerprint

    @cached_property
    def _examples(self) -> PairedExamples:
        path = split_path(self.folder, self.task, "test")
        if not path.is_file():
            pie_bench.build(self.folder / "original", self.folder)
        return PairedExamples(path, f"editar-bench prepare --dataset {self.dataset}")

    @cached_property
    def _fingerprint(self) -> str:
        return self._examples.fingerprint()
