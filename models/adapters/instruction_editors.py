"""`instruct-pix2pix` and `magicbrush`: the published InstructPix2Pix and its finetune on human edits.

InstructPix2Pix (Brooks et al. 2023, arXiv 2211.09800); MagicBrush (Zhang et al. 2023, arXiv 2306.10012) trained it on
with pictures that people edited. Protocols: `author` are the authors' scripts, `pnpinversion` is the run of
github.com/cure-lab/PnPInversion that PIE-Bench's table shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from editar_bench.types import Capability, Example, How, Settings, Task
from models.adapters import pipelines
from models.adapters.common import NATIVE, number
from models.adapters.diffusion import (
    PUBLISHED,
    SD_BYTES,
    DiffusionAdapter,
    checked,
    load_part,
    settled,
    source_of,
)
from models.adapters.hub import Source

if TYPE_CHECKING:
    import torch

_UNTRAINED = "InstructPix2Pix was trained on instruction edits only and never saw {} as input"
AUTHOR: Settings = {
    "steps": 100,
    "guidance": 7.5,
    "image_guidance": 1.5,
    "sampler": "euler-ancestral",
    "negative": "",
}


class InstructPix2Pix(DiffusionAdapter):
    """A Stable Diffusion whose UNet sees the source picture beside the noise."""

    name = "instruct-pix2pix"
    capabilities: Mapping[Task, Capability] = {
        Task.EDIT: NATIVE,
        Task.DEPTH: Capability(how=How.NO, reason=_UNTRAINED.format("a depth map")),
        Task.EDGE: Capability(how=How.NO, reason=_UNTRAINED.format("an edge map")),
        Task.SEGMENTATION: Capability(how=How.NO, reason=_UNTRAINED.format("a label map")),
    }
    weights: ClassVar[str] = "timbrooks/instruct-pix2pix"
    presets: ClassVar[Mapping[str, Settings]] = {
        "author": AUTHOR,
        "pnpinversion": {**AUTHOR, "steps": 50},
    }
    download_size: ClassVar[int | None] = SD_BYTES
    seen = 2  # the noise and the source
    rows = 3  # with text and picture, with the picture alone, with neither

    def __init__(
        self,
        weights: str = PUBLISHED,
        protocol: str = "author",
        steps: int | None = None,
        guidance: float | None = None,
        image_guidance: float | None = None,
        sampler: str | None = None,
        negative: str | None = None,
        resolution: int = 512,
        precision: str = "auto",
        memory: str = "none",
    ) -> None:
        settings = settled(
            self.presets, protocol, steps=steps, guidance=guidance,
            image_guidance=image_guidance, sampler=sampler, negative=negative,
        ) | checked(resolution=resolution, precision=precision, memory=memory)  # fmt: skip
        number("guidance", settings["guidance"], 1)
        super().__init__(settings, self.sources({"weights": weights}))

    @classmethod
    def sources(cls, settings: Mapping[str, Any]) -> Mapping[str, Source]:
        """The pipeline."""
        place = cls.weights if settings["weights"] == PUBLISHED else settings["weights"]
        return {"pipeline": source_of(place, pipeline=True)}

    def _load(self, task: Task, dtype: torch.dtype) -> Any:
        from diffusers import StableDiffusionInstructPix2PixPipeline

        return load_part(StableDiffusionInstructPix2PixPipeline, self._found["pipeline"], dtype)

    def _arguments(self, batch: Sequence[Example]) -> dict[str, Any]:
        return {
            "prompt": [example.prompt for example in batch],
            "image": pipelines.conditions(batch, self.settings["resolution"]),
            "negative_prompt": [self.settings["negative"]] * len(batch),
            "num_inference_steps": self.settings["steps"],
            # diffusers takes 1 for no guidance at all, of the picture neither.
            "guidance_scale": max(self.settings["guidance"], 1 + 1e-9),
            "image_guidance_scale": self.settings["image_guidance"],
        }


class MagicBrush(InstructPix2Pix):
    """InstructPix2Pix trained on with MagicBrush; the conversion to diffusers that its authors link."""

    name = "magicbrush"
    weights = "vinesmsuic/magicbrush-jul7"
    presets = {"author": AUTHOR}
