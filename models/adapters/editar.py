"""`editar-scenes`: our EditAR, trained on the scenes. `editar`: the published one, from its released weights."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from editar_bench.contracts import Context, Footprint
from editar_bench.errors import MissingWeights
from editar_bench.types import Capability, Example, Generation, Settings, Task
from models.adapters import codec_released
from models.adapters.budgets import training_cost
from models.adapters.common import (
    NATIVE,
    check_sizes,
    check_square,
    everywhere,
    generations,
    number,
    one_of,
    quiet,
    whole,
)
from models.editar.released import (
    CODEC,
    TEXT_ENCODER,
    TRANSFORMER,
    fetch,
    fetch_text_encoder,
    find_text_encoder,
    find_weights,
    fingerprint,
)
from models.editar.templates import prompt_for
from models.weights_manifest import WEIGHTS, checked

if TYPE_CHECKING:
    from models.editar.pipeline import EditAR
    from models.editar.precision import CacheType, Precision, WeightType

# Chosen on the validation split (32 samples a task, later 100 again) among guidance 1, 1.5, 2, 3 and temperature 0.1
# to 1 (published: 3.0 and 1.0): colder draws lose the objects, more guidance costs exactness.
GUIDANCE = 1.0
TEMPERATURE = 0.7
# Of the four trials of `compact`, 0.7 closes as much of the gaps (0.125 and 0.120, 128 samples
# a task) and leaves objects out: its kernel distances are four to eight times as large.
COMMON_TEMPERATURE = 1.0
# As published (arXiv 2501.04699; its README and sampling script).
RELEASED_GUIDANCE = 3.0
RELEASED_TEMPERATURE = 1.0
TOP_K = 1000
TOP_P = 1.0
# Where the published script scores pictures it has just made, it truncates their levels; the files that
# it writes, which the other tasks are scored from, are rounded.
TRUNCATED = (Task.EDIT, Task.DEPTH)


class EditarScenes:
    """EditAR of `weights/editar` with the shared codec and text encoder."""

    name = "editar-scenes"
    folder = "editar"
    root: ClassVar[Path | None] = None  # of the weights; None is that of the shipped ones
    made_by = ""  # the commands that make weights which are not shipped
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
        self.settings = _settings(guidance, temperature, top_k, top_p)
        root = self.root or WEIGHTS
        self._home = root / self.folder
        if self.made_by and not self._home.is_dir():
            raise MissingWeights(
                f"The weights of {self.name} are not shipped; {self.made_by} make them."
            )
        self.fingerprint: Mapping[str, str] = checked(root, [self.folder, "codec", "text"])
        self.training = training_cost([self._home / "editar.training.json"])
        self._editar: EditAR | None = None

    def setup(self, context: Context) -> None:
        """Load codec, text encoder and transformer."""
        import torch

        from models.editar.pipeline import EditAR

        if self._editar is None or self._editar.device != torch.device(context.device):
            with quiet():
                self._editar = EditAR.from_folder(self._home, context.device)

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


class EditarCommon(EditarScenes):
    """The same architecture, trained with as many operations as every compact model of another paradigm."""

    name = "editar-common"
    folder = "editar-common"

    def __init__(
        self,
        guidance: float = GUIDANCE,
        temperature: float = COMMON_TEMPERATURE,
        top_k: int = TOP_K,
        top_p: float = TOP_P,
    ) -> None:
        super().__init__(guidance, temperature, top_k, top_p)


class Editar:
    """The published EditAR at 512 x 512, from `editar_release.pt`, `vq_ds16_t2i.pt` and Flan-T5-XL.

    `weights`, `codec` and `text` are local copies (a file each, a folder for the text encoder) or
    names of repositories on the Hugging Face hub. Conditions must be square; they are scaled to
    512, and the pictures back. All steps are guided, or with a `cfg_interval` of at least 0 those
    up to it. `weight_type` (full, int8 or fp8) and `cache_type` (full or fp8) say what sampling
    reads at every step: fewer bits are quicker on a GPU and not quite the same model.
    """

    name = "editar"
    kind: Literal["measured"] = "measured"
    download_size = (
        15_000_000_000  # bytes, about: transformer 3.1 GB, codec 0.3 GB, text encoder 11.4 GB
    )
    capabilities: ClassVar[Mapping[Task, Capability]] = everywhere(NATIVE)
    batch_size = 4

    def __init__(
        self,
        weights: str = TRANSFORMER.hub,
        codec: str = CODEC.hub,
        text: str = TEXT_ENCODER,
        guidance: float = RELEASED_GUIDANCE,
        temperature: float = RELEASED_TEMPERATURE,
        top_k: int = TOP_K,
        top_p: float = TOP_P,
        cfg_interval: int = -1,
        weight_type: str = "full",
        cache_type: str = "full",
    ) -> None:
        self._sampling = {
            **_settings(guidance, temperature, top_k, top_p),
            "cfg_interval": whole("cfg_interval", cfg_interval, -1),
        }
        self._types: tuple[WeightType, CacheType] = (
            one_of("weight_type", weight_type, ("full", "int8", "fp8")),
            one_of("cache_type", cache_type, ("full", "fp8")),
        )
        self.settings = {
            **self._sampling,
            "weight_type": weight_type,
            "cache_type": cache_type,
        }
        self.ceiling = codec_released.label_for(codec)
        self._files = (
            find_weights(TRANSFORMER, weights),
            find_weights(CODEC, codec),
            find_text_encoder(text),
        )
        self.fingerprint: Mapping[str, str] = fingerprint(*self._files)
        self._editar: EditAR | None = None

    @staticmethod
    def prepare(
        weights: str = TRANSFORMER.hub, codec: str = CODEC.hub, text: str = TEXT_ENCODER
    ) -> list[Path]:
        """Fetch what is not here, convert it to safetensors and note the checksums."""
        return [
            fetch(TRANSFORMER, weights),
            fetch(CODEC, codec),
            fetch_text_encoder(text),
        ]

    def footprint(self, device: str) -> Footprint:
        """Memory of the networks and of each picture."""
        from models.editar.footprint import released_footprint

        return released_footprint(device, self._precision())

    def setup(self, context: Context) -> None:
        """Load the three networks; transformer and text encoder in bfloat16 where a GPU runs them, as published."""
        import torch

        from models.editar.pipeline import EditAR
        from models.editar.precision import check_device

        device = torch.device(context.device)
        check_device(self._precision(), device)
        if self._editar is None or self._editar.device != device:
            dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
            with quiet():
                self._editar = EditAR.from_released(*self._files, device, dtype)

    def generate(self, batch: Sequence[Example], seeds: Sequence[int]) -> list[Generation]:
        """One picture an example, of the size of its condition."""
        from models.editar.pictures import fit

        assert self._editar is not None, "setup comes first"
        started = time.perf_counter()
        check_square(self.name, batch)
        side = self._editar.codec.config.image_size
        pictures = self._editar.edit(
            [fit(example.condition, side) for example in batch],
            [prompt_for(example.task, example.prompt) for example in batch],
            seeds,
            **self._sampling,
            precision=self._precision(),
            truncate=batch[0].task in TRUNCATED,  # a batch is of one task
        )
        sizes = [len(example.condition) for example in batch]
        return generations([fit(p, size) for p, size in zip(pictures, sizes, strict=True)], started)

    def _precision(self) -> Precision:
        from models.editar.precision import Precision

        return Precision(*self._types)


def _settings(guidance: float, temperature: float, top_k: int, top_p: float) -> Settings:
    return {
        "guidance": number("guidance", guidance, 1.0),
        "temperature": number("temperature", temperature, 0.01),
        "top_k": whole("top_k", top_k, 0),
        "top_p": number("top_p", top_p, 0.0, 1.0),
    }
