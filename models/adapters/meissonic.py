"""`meissonic`: Meissonic (Bai et al. 2024, arXiv 2410.08261), an open masked model at 1024 pixels.

Masked parallel decoding as Muse does it. As an editor it masks a part of the source's codes and draws them anew under
the text, which nobody trained it for. Defaults: the authors' script, which takes LAION's text encoder for the one of
the repository; text=own takes that one, as Monetico (weights=Collov-Labs/Monetico,text=own,resolution=512,steps=48)
wants it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from editar_bench.contracts import Context
from editar_bench.types import Example, Task
from models.adapters import pipelines
from models.adapters.amused import AMUSED_DECODER
from models.adapters.common import one_of
from models.adapters.diffusion import DiffusionAdapter, checked, load_part, source_of, text_of
from models.adapters.hub import Source
from models.adapters.stable_diffusion import MASKING, MODES, capabilities_of, check_share

if TYPE_CHECKING:
    import torch

MEISSONIC = "MeissonFlow/Meissonic"
TEXT = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
OWN = "own"  # as the text encoder: the repository's
NEGATIVE = (
    "worst quality, low quality, low res, blurry, distortion, watermark, logo, signature, text, "
    "jpeg artifacts, signature, sketch, duplicate, ugly, identifying mark"
)
# Parts of the repository by folder, and the file that each copy has.
_PARTS = {
    "vqvae": "config.json",
    "transformer": "config.json",
    "tokenizer": "tokenizer_config.json",
    "scheduler": "scheduler_config.json",
}


class Meissonic(DiffusionAdapter):
    """Masked decoding under a text, from a partly masked source picture or from nothing."""

    name = "meissonic"
    capabilities = capabilities_of("img2img", MASKING)
    decoder = AMUSED_DECODER
    together = False  # its schedule takes one generator
    batch_size = 1

    def __init__(
        self,
        weights: str = MEISSONIC,
        text: str = TEXT,
        mode: str = "img2img",
        prompt: str = "instruction",
        strength: float = 0.5,
        steps: int = 64,
        guidance: float = 9.0,
        negative: str = NEGATIVE,
        resolution: int = 1024,
        precision: str = "auto",
        memory: str = "none",
    ) -> None:
        settings = {"mode": one_of("mode", mode, MODES)} | checked(
            prompt="target" if mode == "text" else prompt,  # an instruction describes no picture
            strength=strength,
            steps=steps,
            guidance=guidance,
            negative=negative,
            resolution=resolution,
            precision=precision,
            memory=memory,
        )
        check_share(settings)
        super().__init__(settings, self.sources({"weights": weights, "text": text}))
        self.ceiling = self.decoder.label(source_of(weights).path, settings["resolution"])
        self.capabilities = capabilities_of(mode, MASKING)

    @classmethod
    def sources(cls, settings: Mapping[str, Any]) -> Mapping[str, Source]:
        """The parts of the repository, since its index names classes of its own, and the text encoder."""
        weights, text = settings["weights"], settings["text"]
        parts = {name: source_of(weights).part(name, file) for name, file in _PARTS.items()}
        own = source_of(weights).part("text_encoder")
        return {**parts, "text_encoder": own if text == OWN else source_of(text)}

    def setup(self, context: Context) -> None:
        """Load the networks; refuses a data set without the captions that it reads."""
        text_of(context.examples[0], self.settings["prompt"])
        super().setup(context)

    def _load(self, task: Task, dtype: torch.dtype) -> Any:
        from diffusers import AmusedScheduler, VQModel
        from transformers import CLIPTextModelWithProjection, CLIPTokenizer

        from models.adapters.meissonic_network import MeissonicPipeline, MeissonicTransformer

        kinds = {
            "vqvae": VQModel,
            "transformer": MeissonicTransformer,
            "tokenizer": CLIPTokenizer,
            "scheduler": AmusedScheduler,
            "text_encoder": CLIPTextModelWithProjection,
        }
        parts = {name: load_part(kind, self._found[name], dtype) for name, kind in kinds.items()}
        if parts["vqvae"].config.force_upcast:  # half precision overflows in it, its authors say
            parts["vqvae"].float()
        return MeissonicPipeline(**parts)

    def _arguments(self, batch: Sequence[Example]) -> dict[str, Any]:
        side = self.settings["resolution"]
        source = {
            "image": pipelines.conditions(batch, side),
            "strength": self.settings["strength"],
        }
        return (source if self.settings["mode"] == "img2img" else {}) | {
            "prompt": [text_of(example, self.settings["prompt"]) for example in batch],
            "negative_prompt": [self.settings["negative"]],
            "height": side,
            "width": side,
            "num_inference_steps": self.settings["steps"],
            "guidance_scale": self.settings["guidance"],
        }
