"""`editar-scenes`: our EditAR, trained on the scenes, with the task strings of the published one."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from editar_bench.contracts import Context
from editar_bench.types import Capability, Example, Generation, Settings, Task
from models.adapters.common import (
    NATIVE,
    check_sizes,
    everywhere,
    generations,
    number,
    quiet,
    whole,
)
from models.editar.templates import prompt_for
from models.weights_manifest import WEIGHTS, checked

if TYPE_CHECKING:
    from models.editar.pipeline import EditAR

# Chosen on the validation split among guidance 1, 2, 3 and temperature 0.3, 1.0 (published: 3.0 and 1.0).
GUIDANCE = 2.0
TEMPERATURE = 0.3
# As published.
TOP_K = 1000
TOP_P = 1.0


class EditarScenes:
    """EditAR of `weights/editar` with the shared codec and text encoder."""

    name = "editar-scenes"
    kind: Literal["measured"] = "measured"
    ceiling = "codec"
    capabilities: ClassVar[Mapping[Task, Capability]] = everywhere(NATIVE)
    batch_size = 32

    def __init__(
        self,
        guidance: float = GUIDANCE,
        temperature: float = TEMPERATURE,
        top_k: int = TOP_K,
        top_p: float = TOP_P,
    ) -> None:
        self.settings: Settings = {
            "guidance": number("guidance", guidance, 1.0),
            "temperature": number("temperature", temperature, 0.01),
            "top_k": whole("top_k", top_k, 0),
            "top_p": number("top_p", top_p, 0.0, 1.0),
        }
        self._root: Path = WEIGHTS
        self.fingerprint: Mapping[str, str] = checked(self._root, ["editar", "codec", "text"])
        self._editar: EditAR | None = None

    def setup(self, context: Context) -> None:
        """Load codec, text encoder and transformer."""
        import torch

        from models.editar.pipeline import EditAR

        if self._editar is None or self._editar.device != torch.device(context.device):
            with quiet():
                self._editar = EditAR.from_folder(self._root / "editar", context.device)

    def generate(self, batch: Sequence[Example], seeds: Sequence[int]) -> list[Generation]:
        """One picture an example, each drawn from its own seed's numbers."""
        assert self._editar is not None, "setup comes first"
        started = time.perf_counter()
        check_sizes(self.name, batch, self._editar.codec.config.image_size)
        pictures = self._editar.edit(
            [example.condition for example in batch],
            [prompt_for(example.task, example.prompt) for example in batch],
            seeds,
            **self.settings,
        )
        return generations(pictures, started)
