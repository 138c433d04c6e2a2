"""LlamaGen, text-to-image: what the caption alone buys. `llamagen-scenes` is ours, `llamagen` the published one."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from editar_bench.contracts import Context, Footprint
from editar_bench.types import Capability, Example, Generation, How, Settings, Task
from models.adapters.codec_released import label_for
from models.adapters.common import check_square, generations, number, quiet
from models.adapters.compact import (
    GUIDANCE,
    LLAMAGEN_TEMPERATURE,
    TOP_K,
    CompactModel,
    draw_settings,
)
from models.compact.released import CODECS, HUB, STAGES
from models.editar.released import (
    TEXT_ENCODER,
    fetch,
    fetch_text_encoder,
    find_text_encoder,
    find_weights,
    fingerprint,
)

if TYPE_CHECKING:
    from torch import Tensor

    from models.compact.folder import Parts
    from models.compact.llamagen import LlamaGen as Network

# As published: LlamaGen's README and autoregressive/sample/sample_t2i.py.
STAGE = 2
RELEASED_GUIDANCE = 7.5
RELEASED_TEMPERATURE = 1.0
RELEASED_TOP_K = 1000
RELEASED_TOP_P = 1.0
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


class LlamaGenScenes(CompactModel["Network"]):
    """LlamaGen: EditAR's architecture without a condition picture."""

    name = "llamagen-scenes"
    folder = "llamagen"
    capabilities: ClassVar[Mapping[Task, Capability]] = CAPTION_ONLY

    def __init__(
        self,
        guidance: float = GUIDANCE,
        temperature: float = LLAMAGEN_TEMPERATURE,
        top_k: int = TOP_K,
    ) -> None:
        super().__init__(draw_settings(guidance, temperature, top_k))

    @staticmethod
    def _build(config: Mapping[str, Any]) -> Network:
        from models.compact.llamagen import LlamaGen as Network
        from models.editar.config import TransformerConfig

        return Network(TransformerConfig.from_dict(config))

    def _make(
        self, parts: Parts[Network], batch: Sequence[Example], seeds: Sequence[int]
    ) -> Tensor:
        return _draw(parts, [caption_of(example) for example in batch], seeds, self.settings)


class LlamaGen:
    """The published LlamaGen-XL: stage 1 makes pictures of 256 x 256, stage 2 of 512 x 512.

    `weights`, `codec` and `text` are local copies (a file each, a folder for the text encoder) or names of
    repositories on the Hugging Face hub. The pictures are scaled to the size of the conditions, which must be square.
    """

    name = "llamagen"
    kind: Literal["measured"] = "measured"
    download_size = (
        15_000_000_000  # bytes, about: transformer 3.1 GB, codec 0.3 GB, text encoder 11.4 GB
    )
    capabilities: ClassVar[Mapping[Task, Capability]] = CAPTION_ONLY
    batch_size = 4

    def __init__(
        self,
        stage: int = STAGE,
        weights: str = HUB,
        codec: str = HUB,
        text: str = TEXT_ENCODER,
        guidance: float = RELEASED_GUIDANCE,
        temperature: float = RELEASED_TEMPERATURE,
        top_k: int = RELEASED_TOP_K,
        top_p: float = RELEASED_TOP_P,
    ) -> None:
        self._stage = _checked_stage(stage)
        self._drawing = draw_settings(guidance, temperature, top_k)
        self._drawing["top_p"] = number("top_p", top_p, 0.0, 1.0)
        self.settings: Settings = {"stage": self._stage, **self._drawing}
        self.ceiling = label_for(codec, CODECS[self._stage].config["image_size"])
        self._files = (
            find_weights(STAGES[self._stage], weights),
            find_weights(CODECS[self._stage], codec),
            find_text_encoder(text, self.name),
        )
        self.fingerprint: Mapping[str, str] = fingerprint(*self._files)
        self._parts: Parts[Network] | None = None

    @staticmethod
    def prepare(
        stage: int = STAGE, weights: str = HUB, codec: str = HUB, text: str = TEXT_ENCODER
    ) -> list[Path]:
        """Fetch what is not here, convert it to safetensors and note the checksums."""
        stage = _checked_stage(stage)
        return [
            fetch(STAGES[stage], weights),
            fetch(CODECS[stage], codec),
            fetch_text_encoder(text),
        ]

    def footprint(self, device: str) -> Footprint:
        """Memory of the networks and of each picture."""
        from models.compact.footprint import llamagen_footprint

        return llamagen_footprint(self._stage, device)

    def setup(self, context: Context) -> None:
        """Load the three networks; transformer and text encoder in bfloat16 where a GPU runs them, as published."""
        import torch

        from models.compact.folder import Parts
        from models.compact.llamagen import load_llamagen
        from models.editar.checkpoint import load_codec
        from models.editar.text import load_text_encoder

        device = torch.device(context.device)
        if self._parts is not None and self._parts.device == device:
            return
        dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
        weights, codec, text = self._files
        with quiet():
            network = load_llamagen(weights, STAGES[self._stage].config, device, dtype)
            self._parts = Parts(
                codec=load_codec(codec, CODECS[self._stage].config, device),
                text=load_text_encoder(text, network.config.cls_token_num, dtype).to(device),
                network=network,
                device=device,
            )

    def generate(self, batch: Sequence[Example], seeds: Sequence[int]) -> list[Generation]:
        """One picture an example, of the size of its condition; captions are cleaned as in its training."""
        import torch

        from models.compact.captions import clean_caption
        from models.editar.pictures import fit, to_pictures

        assert self._parts is not None, "setup comes first"
        started = time.perf_counter()
        check_square(self.name, batch)
        captions = [clean_caption(caption_of(example)) for example in batch]
        with torch.inference_mode():
            pictures = to_pictures(_draw(self._parts, captions, seeds, self._drawing))
        sizes = [len(example.condition) for example in batch]
        return generations([fit(p, size) for p, size in zip(pictures, sizes, strict=True)], started)


def _draw(
    parts: Parts[Network], captions: Sequence[str], seeds: Sequence[int], drawing: Settings
) -> Tensor:
    """Pictures (B, 3, H, W) in [-1, 1] of captions, each drawn from its own seed's numbers."""
    from models.compact.llamagen import encode_captions
    from models.editar.choosing import SamplerSettings, uniforms_for

    text, mask_BT = encode_captions(parts.text, captions)
    uniforms_BN = uniforms_for(seeds, parts.network.config.block_size)
    codes_BN = parts.network.sample(text, mask_BT, SamplerSettings(**drawing), uniforms_BN)
    return parts.codec.decode(codes_BN)


def _checked_stage(stage: int) -> int:
    if isinstance(stage, bool) or stage not in STAGES:
        raise ValueError(f"stage is {stage!r} and must be 1 (256 pixels) or 2 (512 pixels)")
    return stage


def caption_of(example: Example) -> str:
    """What the wanted picture shows, in words: an edit's target caption, or its instruction where the data has none."""
    return example.target_caption or example.prompt
