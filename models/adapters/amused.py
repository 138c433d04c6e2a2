"""`amused`: aMUSEd (Patil et al. 2024, arXiv 2401.01808), the open reproduction of Muse, whose weights are not public.

Masked parallel decoding in 12 steps. As an editor it masks a part of the source's codes and draws them anew under the
text, which nobody trained it for. Defaults: those of its pipelines in diffusers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from models.adapters.diffusion import SIDE, Decoder, checked
from models.adapters.stable_diffusion import MASKING, StableDiffusion, capabilities_of, check_share

AMUSED_512 = "amused/amused-512"
AMUSED_DECODER = Decoder("codec-amused", AMUSED_512, SIDE)


class Amused(StableDiffusion):
    """Masked decoding under a text, from a partly masked source picture or from nothing."""

    name = "amused"
    decoder = AMUSED_DECODER
    editing = MASKING
    capabilities = capabilities_of("img2img", MASKING)
    download_size = None
    together = False  # its sampler takes one generator
    classes: ClassVar[Mapping[str, str]] = {
        "img2img": "AmusedImg2ImgPipeline",
        "text": "AmusedPipeline",
    }

    def __init__(
        self,
        weights: str = AMUSED_512,
        mode: str = "img2img",
        prompt: str = "instruction",
        strength: float = 0.5,
        steps: int = 12,
        guidance: float = 10.0,
        negative: str = "",
        resolution: int = 512,
        precision: str = "auto",
        memory: str = "none",
    ) -> None:
        check_share({"mode": mode, **checked(strength=strength, steps=steps)})
        super().__init__(
            weights, mode, prompt, strength, steps, guidance, "own", negative, resolution,
            precision, memory,
        )  # fmt: skip
