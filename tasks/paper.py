"""The published data sets: each task with the metrics of the tables it appears in.

A data set is read on first use from a copy in its original layout, in the folder `original` beside the built file:
`$EDITAR_BENCH_DATA/<data set>/original`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from data_prep import ade20k, coco_stuff, emu_edit, hub_fetch, magicbrush, multigen, pie_bench
from data_prep.hub_copy import HubSplit, shards
from data_prep.paired import PairedExamples, split_path
from editar_bench.contracts import Missing
from editar_bench.types import Example, Task
from tasks._scenes import data_folder

PICTURES = ("fid", "fid_mean4", "kid", "clip_b16")
_PIE = ("pie_structure", "pie_psnr", "pie_lpips", "pie_mse", "pie_ssim")


class PaperTask:
    """A task on a published data set; subclasses say which, and what builds it."""

    task: ClassVar[Task]
    dataset: ClassVar[str]
    metrics: ClassVar[Sequence[str]]
    build: ClassVar[Callable[[Path, Path], Path]]  # from the original layout, into the folder
    source: ClassVar[HubSplit | None] = None  # where the hub has it
    # Results may have any size: the metrics bring them to that of what they compare them with.
    any_size: ClassVar[bool] = False

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or data_folder().parent / self.dataset

    @classmethod
    def place(cls) -> Path:
        """The folder of the built file."""
        return split_path(cls().folder, cls.task, "test").parent

    def missing(self) -> Sequence[Missing]:
        """The data, where neither the built file nor a copy of the original is here."""
        built = split_path(self.folder, self.task, "test").is_file()
        if built or self.has_original():
            return ()
        return (self._piece(),)

    def fetch(self, advance: Callable[[int], None]) -> None:
        """Bring the original from the hub, where it is published there."""
        if self.source is not None:
            hub_fetch.fetch(self.source, self.original, advance)

    def has_original(self) -> bool:
        """Whether there is a copy in the original layout."""
        return self.source is not None and bool(shards(self.original, self.source))

    @property
    def original(self) -> Path:
        """Where the copy in the original layout belongs."""
        return self.folder / "original"

    def _piece(self) -> Missing:
        assert self.source is not None
        what = f"data {self.dataset}"
        return Missing(what=what, how=self.source.command, size=self.source.size)

    def load(self) -> Sequence[Example]:
        """The whole set, built on first use."""
        return self._examples

    def fingerprint(self) -> str:
        """sha256 of texts, pictures, masks and maps."""
        return self._fingerprint

    @cached_property
    def _examples(self) -> PairedExamples:
        path = split_path(self.folder, self.task, "test")
        if not path.is_file():
            type(self).build(self.original, self.folder)
        return PairedExamples(path, f"editar-bench prepare --dataset {self.dataset}")

    @cached_property
    def _fingerprint(self) -> str:
        return self._examples.fingerprint()


class PieBenchEdit(PaperTask):
    """700 edits of ten types; without a true edited picture, so preservation and CLIP are scored."""

    task, dataset, build = Task.EDIT, "pie-bench", pie_bench.build
    metrics = (
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
        *_PIE[1:],
        *(f"{name}_edit" for name in _PIE),
        "pie_structure_unedit",
    )

    def remarks(self) -> Sequence[str]:
        """A sentence where this is not the whole set."""
        found = len(self.load())
        if found == pie_bench.COUNT:
            return ()
        return (
            f"pie-bench has {found} edits here and {pie_bench.COUNT} as published; results are not comparable.",
        )

    def has_original(self) -> bool:
        """Whether the archive lies there."""
        return (self.original / pie_bench.MAPPING).is_file()

    def _piece(self) -> Missing:
        how = f"{pie_bench.REQUEST} into {self.original}"
        return Missing(what=f"data {self.dataset}", how=how)


class MagicBrushEdit(PaperTask):
    """528 turns with the true edited picture, each from the true picture before it."""

    task, dataset, build = Task.EDIT, "magicbrush-all-turns", magicbrush.build
    source = magicbrush.SOURCE
    any_size = True
    metrics = ("mb_l1", "mb_l2", "mb_clip_image", "mb_dino", "mb_clip_text")


class EmuEdit(PaperTask):
    """3,589 edits of seven kinds, compared with the source and the captions."""

    task, dataset, build = Task.EDIT, "emu-edit", emu_edit.build
    source = emu_edit.SOURCE
    any_size = True
    metrics = ("emu_clip_image", "emu_clip_out", "emu_clip_direction", "emu_dino", "emu_l1")


class MultiGenDepth(PaperTask):
    """5,000 depth maps with captions."""

    task, dataset, build = Task.DEPTH, "multigen-depth", multigen.build_depth
    source = multigen.DEPTH
    metrics = (
        "depth_rmse_minmax",
        "depth_rmse_max",
        "depth_rmse_max512",
        "clean_depth_aligned",
        *PICTURES,
    )


class MultiGenCanny(PaperTask):
    """5,000 edge maps with captions."""

    task, dataset, build = Task.EDGE, "multigen-canny", multigen.build_canny
    source = multigen.CANNY
    metrics = (
        "canny_f1",
        "canny_f1_pooled",
        "canny_f1_opencv",
        "canny_ms_ssim",
        "canny_ms_ssim_opencv",
        "canny_psnr",
        "clean_canny_f1",
        *PICTURES,
    )


class CocoStuff(PaperTask):
    """5,000 label maps of 171 classes with captions."""

    task, dataset, build = Task.SEGMENTATION, "coco-stuff", coco_stuff.build
    source = coco_stuff.SOURCE
    metrics = ("seg_coco", "seg_coco_present", *PICTURES)


class Ade20k(PaperTask):
    """2,000 label maps of 150 classes with captions."""

    task, dataset, build = Task.SEGMENTATION, "ade20k", ade20k.build
    source = ade20k.SOURCE
    metrics = ("seg_ade", "seg_ade_shifted", *PICTURES)
