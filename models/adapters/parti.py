"""`parti-scenes`: the compact encoder-decoder. Parti itself (arXiv 2206.10789) has no public weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from editar_bench.types import Example
from models.adapters.compact import (
    GUIDANCE,
    PARTI_TEMPERATURE,
    TOP_K,
    CompactModel,
    conditions,
    draw_settings,
)

if TYPE_CHECKING:
    from torch import Tensor

    from models.compact.folder import Parts
    from models.compact.parti import Parti


class PartiScenes(CompactModel["Parti"]):
    """Parti: an encoder for text and condition, a decoder that writes one code after another."""

    name = "parti-scenes"
    folder = "parti"

    def __init__(
        self, guidance: float = GUIDANCE, temperature: float = PARTI_TEMPERATURE, top_k: int = TOP_K
    ) -> None:
        super().__init__(draw_settings(guidance, temperature, top_k))

    @staticmethod
    def _build(config: Mapping[str, Any]) -> Parti:
        from models.compact.parti import Parti, PartiConfig

        return Parti(PartiConfig.from_dict(config))

    def _make(self, parts: Parts[Parti], batch: Sequence[Example], seeds: Sequence[int]) -> Tensor:
        from models.editar.choosing import SamplerSettings, uniforms_for

        text, condition_BN = conditions(parts, batch)
        uniforms_BN = uniforms_for(seeds, condition_BN.shape[1])
        settings = SamplerSettings(**self.settings)
        return parts.codec.decode(parts.network.sample(text, condition_BN, settings, uniforms_BN))
