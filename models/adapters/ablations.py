"""EditAR with one thing changed, at the common budget. The weights are not shipped: `train ablations` makes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from editar_bench.types import Capability, How, Task
from models.adapters.common import NATIVE
from models.adapters.editar import EditarCommon
from models.weights_manifest import ABLATIONS

_OTHERS = Capability(how=How.NO, reason="trained on depth alone")


class EditarAblation(EditarCommon):
    """`editar-common` trained otherwise; its codec and text encoder are copies of the shipped ones."""

    root: ClassVar[Path | None] = ABLATIONS
    made_by = "`editar-bench train teacher` and then `editar-bench train ablations --flops 5e13`"


class NoDistillation(EditarAblation):
    """Trained on the codes' cross-entropy alone."""

    name = "editar-no-distillation"
    folder = "editar-no-distillation"


class ClipTeacher(EditarAblation):
    """Distilled from the CLIP that also scores it: what a leak is worth."""

    name = "editar-clip-teacher"
    folder = "editar-clip-teacher"


class DepthOnly(EditarAblation):
    """Trained on depth alone."""

    name = "editar-depth-only"
    folder = "editar-depth-only"
    capabilities: ClassVar[Mapping[Task, Capability]] = {
        Task.EDIT: _OTHERS,
        Task.DEPTH: NATIVE,
        Task.EDGE: _OTHERS,
        Task.SEGMENTATION: _OTHERS,
    }
