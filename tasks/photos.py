"""Pairs made from a folder of one's own photos, scored like the published sets of their tasks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from editar_bench.contracts import Missing
from editar_bench.errors import UserError
from tasks._scenes import data_folder
from tasks.paper import Ade20k, MultiGenCanny, MultiGenDepth

COMMAND = "editar-bench prepare --from-images DIR --conditions canny,depth,segmentation"


def _refuse(original: Path, folder: Path) -> Path:
    raise UserError(f"There are no pairs in {folder}; make them with `{COMMAND}`.")


class _Photos:
    dataset = "photos"
    build: ClassVar[Callable[[Path, Path], Path]] = _refuse

    @classmethod
    def place(cls) -> Path:
        """The folder of all tasks' files."""
        return data_folder().parent / cls.dataset

    def has_original(self) -> bool:
        """Photos are read by the command only."""
        return False

    def _piece(self) -> Missing:
        return Missing(what=f"data {self.dataset}", how=COMMAND)


class PhotosDepth(_Photos, MultiGenDepth):
    """Depth maps of one's own photos, estimated by DPT-Large."""


class PhotosCanny(_Photos, MultiGenCanny):
    """Edge maps of one's own photos."""


class PhotosSegmentation(_Photos, Ade20k):
    """Label maps of one's own photos, found by Mask2Former."""
