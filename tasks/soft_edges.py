"""MultiGen's pictures with the soft edges of a network as condition: HED, and line drawings.

The condition is the very map that ControlNet++'s protocol holds results against: white lines on black, 8 bit. Maps are
made once, with the data, on the first GPU there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from data_prep import multigen
from data_prep.paired import split_path
from editar_bench.contracts import Missing
from editar_bench.devices import resolve_device
from editar_bench.metrics.soft_edges_published import HedMsSsim, LineartMsSsim
from editar_bench.types import Picture, Task
from tasks.paper import PICTURES, PaperTask


class _SoftEdges(PaperTask):
    task, source = Task.EDGE, multigen.CANNY
    compared: ClassVar[type[HedMsSsim] | type[LineartMsSsim]]

    def missing(self) -> Sequence[Missing]:
        """The pictures, and the network where the maps are still to be made."""
        if split_path(self.folder, self.task, "test").is_file():
            return ()
        return [*super().missing(), *self.compared().missing()]

    @property
    def original(self) -> Path:
        """The copy of the canny set, which has the same pictures."""
        return self.folder.parent / "multigen-canny" / "original"

    @classmethod
    def build(cls, original: Path, folder: Path) -> Path:  # type: ignore[override]  # bound to the class it is asked of
        """Make the conditions picture by picture."""
        metric = cls.compared()
        metric.setup(resolve_device("auto"))

        def edges(picture: Picture) -> Picture:
            (found,) = metric.maps([picture])
            _, label = metric.stored(found, found)
            return np.repeat(label.astype(np.uint8)[..., None], 3, 2)

        return multigen.build_edges(original, folder, edges, metric.ROLE)


class MultiGenHed(_SoftEdges):
    """5,000 HED maps with captions."""

    dataset, compared = "multigen-hed", HedMsSsim
    metrics = ("hed_ms_ssim", "hed_ms_ssim_x1", *PICTURES)


class MultiGenLineart(_SoftEdges):
    """5,000 line drawings with captions."""

    dataset, compared = "multigen-lineart", LineartMsSsim
    metrics = ("lineart_ms_ssim", "lineart_ms_ssim_x1", *PICTURES)
