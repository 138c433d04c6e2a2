"""The compact models of other paradigms, trained on the scenes beside EditAR's codec and text encoder."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from editar_bench.contracts import Context
from editar_bench.types import Capability, Example, Generation, Settings, Task
from models.adapters.budgets import training_cost
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
    from torch import Tensor

    from models.compact.folder import Parts
    from models.compact.muse import Muse
    from models.compact.var import Var
    from models.editar.transformer import RotaryNetwork

_Network = TypeVar("_Network", bound="RotaryNetwork")

# Best of four trials each on the validation split (32 samples a task, mean gap closed; docs/training-log.md): no
# guidance and temperature 1, 0.7 or 0.5, or guidance 2 and temperature 0.7; of Muse steps were among them.
GUIDANCE = 1.0
PARTI_TEMPERATURE = 1.0
LLAMAGEN_TEMPERATURE = 0.7
VAR_TEMPERATURE = 0.5
MUSE_GUIDANCE = 2.0
MUSE_TEMPERATURE = 1.0  # 8 steps at 0.7 do as well, at twice to four times the kernel distance
TOP_K = 0  # no limit
MUSE_STEPS = 12
MOST_STEPS = 1000  # far beyond the number of codes; each draws numbers of its own
MUSE_CHOICE_TEMPERATURE = 4.5  # as published for MaskGIT


class CompactModel(Generic[_Network]):
    """A network of `weights/<folder>` with the codec and the text encoder; subclasses build and run it."""

    name: str
    folder: ClassVar[str]
    ceiling: ClassVar[str] = "codec"
    kind: Literal["measured"] = "measured"
    capabilities: ClassVar[Mapping[Task, Capability]] = everywhere(NATIVE)
    batch_size = 32

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._root: Path = WEIGHTS
        self.fingerprint: Mapping[str, str] = checked(self._root, [self.folder, "codec", "text"])
        self.training = training_cost([self._root / self.folder / f"{self.folder}.training.json"])
        self._parts: Parts[_Network] | None = None

    def setup(self, context: Context) -> None:
        """Load codec, text encoder and network."""
        import torch

        from models.compact.folder import load_folder

        if self._parts is None or self._parts.device != torch.device(context.device):
            with quiet():
                self._parts = load_folder(self._root / self.folder, self._build, context.device)

    def generate(self, batch: Sequence[Example], seeds: Sequence[int]) -> list[Generation]:
        """One picture an example, each drawn from its own seed's numbers."""
        import torch

        from models.editar.pictures import to_pictures

        assert self._parts is not None, "setup comes first"
        started = time.perf_counter()
        check_sizes(self.name, batch, self._parts.codec.config.image_size)
        with torch.inference_mode():
            pictures = to_pictures(self._make(self._parts, batch, seeds))
        return generations(pictures, started)

    @staticmethod
    def _build(config: Mapping[str, Any]) -> _Network:
        """The network of a config.json's `transformer` object."""
        raise NotImplementedError

    def _make(
        self, parts: Parts[_Network], batch: Sequence[Example], seeds: Sequence[int]
    ) -> Tensor:
        """Pictures (B, 3, H, W) in [-1, 1]."""
        raise NotImplementedError


class MuseScenes(CompactModel["Muse"]):
    """Muse: all codes of a picture at once, the surest kept, the others drawn again."""

    name = "muse-scenes"
    folder = "muse"

    def __init__(
        self,
        guidance: float = MUSE_GUIDANCE,
        temperature: float = MUSE_TEMPERATURE,
        top_k: int = TOP_K,
        steps: int = MUSE_STEPS,
        choice_temperature: float = MUSE_CHOICE_TEMPERATURE,
    ) -> None:
        super().__init__(
            draw_settings(guidance, temperature, top_k)
            | {
                "steps": whole("steps", steps, 1, MOST_STEPS),
                "choice_temperature": number("choice_temperature", choice_temperature, 0.0),
            }
        )

    @staticmethod
    def _build(config: Mapping[str, Any]) -> Muse:
        from models.compact.muse import Muse
        from models.editar.config import TransformerConfig

        return Muse(TransformerConfig.from_dict(config))

    def _make(self, parts: Parts[Muse], batch: Sequence[Example], seeds: Sequence[int]) -> Tensor:
        from models.compact.muse import MuseSettings, muse_uniforms

        settings = MuseSettings(**self.settings)
        text, condition_BN = conditions(parts, batch)
        uniforms = muse_uniforms(seeds, condition_BN.shape[1], settings.steps)
        codes_BN = parts.network.sample(text, condition_BN, settings, uniforms)
        return parts.codec.decode(codes_BN)


class VarScenes(CompactModel["Var"]):
    """VAR: a pyramid of codes from coarse to fine, a scale at a time."""

    name = "var-scenes"
    folder = "var"
    ceiling = "codec-multiscale"

    def __init__(
        self, guidance: float = GUIDANCE, temperature: float = VAR_TEMPERATURE, top_k: int = TOP_K
    ) -> None:
        super().__init__(draw_settings(guidance, temperature, top_k))

    @staticmethod
    def _build(config: Mapping[str, Any]) -> Var:
        from models.compact.var import Var, VarConfig

        return Var(VarConfig.from_dict(config))

    def _make(self, parts: Parts[Var], batch: Sequence[Example], seeds: Sequence[int]) -> Tensor:
        from models.editar.choosing import SamplerSettings, uniforms_for

        text, condition_BN = conditions(parts, batch)
        uniforms = uniforms_for(seeds, sum(parts.network.config.sizes))
        settings = SamplerSettings(**self.settings)
        codes = parts.network.sample(parts.codec, text, condition_BN, settings, uniforms)
        return parts.codec.decode_multiscale(codes)


def conditions(parts: Parts[Any], batch: Sequence[Example]) -> tuple[Tensor, Tensor]:
    """Text features (B, T, caption_dim) of the task's prompts, and condition codes (B, N)."""
    from models.editar.pictures import to_tensor

    images = to_tensor([example.condition for example in batch], parts.device)
    text = parts.text.encode([prompt_for(example.task, example.prompt) for example in batch])
    return text, parts.codec.encode(images)


def draw_settings(guidance: float, temperature: float, top_k: int) -> dict[str, Any]:
    """Checked settings of guidance and of drawing."""
    return {
        "guidance": number("guidance", guidance, 1.0),
        "temperature": number("temperature", temperature, 0.01),
        "top_k": whole("top_k", top_k, 0),
    }
