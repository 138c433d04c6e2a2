"""`llamagen-scenes`: text-to-image at a small size, what the caption alone buys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from editar_bench.types import Capability, Example, How, Task
from models.adapters.compact import GUIDANCE, TEMPERATURE, TOP_K, CompactModel, draw_settings

if TYPE_CHECKING:
    from torch import Tensor

    from models.compact.folder import Parts
    from models.compact.llamagen import LlamaGen

_BLIND = "text-to-image: reads the caption alone and never sees the {}"
CAPTION_ONLY: Mapping[Task, Capability] = {
    Task.EDIT: Capability(
        how=How.ZERO_SHOT,
        reason="text-to-image: reads the caption of the edited picture, not the instruction, and never sees the source",
    ),
    Task.DEPTH: Capability(how=How.ZERO_SHOT, reason=_BLIND.format("depth map")),
    Task.EDGE: Capability(how=How.ZERO_SHOT, reason=_BLIND.format("edge map")),
    Task.SEGMENTATION: Capability(how=How.ZERO_SHOT, reason=_BLIND.format("label map")),
}


class LlamaGenScenes(CompactModel["LlamaGen"]):
    """LlamaGen: EditAR's architecture without a condition picture."""

    name = "llamagen-scenes"
    folder = "llamagen"
    capabilities: ClassVar[Mapping[Task, Capability]] = CAPTION_ONLY

    def __init__(
        self, guidance: float = GUIDANCE, temperature: float = TEMPERATURE, top_k: int = TOP_K
    ) -> None:
        super().__init__(draw_settings(guidance, temperature, top_k))

    @staticmethod
    def _build(config: Mapping[str, Any]) -> LlamaGen:
        from models.compact.llamagen import LlamaGen
        from models.editar.config import TransformerConfig

        return LlamaGen(TransformerConfig.from_dict(config))

    def _make(
        self, parts: Parts[LlamaGen], batch: Sequence[Example], seeds: Sequence[int]
    ) -> Tensor:
        from models.compact.llamagen import encode_captions
        from models.editar.choosing import SamplerSettings, uniforms_for

        text, mask_BT = encode_captions(parts.text, [caption_of(example) for example in batch])
        uniforms_BN = uniforms_for(seeds, parts.network.config.block_size)
        settings = SamplerSettings(**self.settings)
        return parts.codec.decode(parts.network.sample(text, mask_BT, settings, uniforms_BN))


def caption_of(example: Example) -> str:
    """What the wanted picture shows, in words: an edit's target caption, or its instruction where the data has none."""
    return example.target_caption or example.prompt
