"""`stable-diffusion`: Stable Diffusion 1.5 (Rombach et al. 2022, arXiv 2112.10752), never trained to edit.

The naive editor noises the source picture and denoises it under a text (SDEdit, arXiv 2108.01073); the instruction is
none of the texts that it knows, the caption of the result is (`prompt=target`). With `mode=text` it sees no picture at
all, which shows what a caption alone buys. Defaults: those of diffusers, which are the authors' scripts'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from editar_bench.contracts import Context
from editar_bench.types import Capability, Example, How, Settings, Task
from models.adapters import pipelines
from models.adapters.common import one_of
from models.adapters.diffusion import (
    SD_1_5,
    SD_BYTES,
    DiffusionAdapter,
    checked,
    load_part,
    source_of,
    text_of,
)
from models.adapters.hub import Source

if TYPE_CHECKING:
    import torch

MODES = ("img2img", "text")
NOISING = "noises the source and denoises it under the text"
MASKING = "masks a part of the source's codes and draws them anew under the text"
_BLIND = "it sees no picture, only the caption: what the caption alone buys"


def capabilities_of(mode: str, editing: str = NOISING) -> Mapping[Task, Capability]:
    """What a text-to-image model does: changes a picture, in the way that `editing` says, or makes one of the text."""
    if mode == "text":
        return dict.fromkeys(Task, Capability(how=How.ZERO_SHOT, reason=_BLIND))
    edit = f"never trained to edit: {editing}"
    no = "takes photographs, not {}s; mode=text makes pictures of the caption alone"
    return {
        Task.EDIT: Capability(how=How.ZERO_SHOT, reason=edit),
        Task.DEPTH: Capability(how=How.NO, reason=no.format("depth map")),
        Task.EDGE: Capability(how=How.NO, reason=no.format("edge map")),
        Task.SEGMENTATION: Capability(how=How.NO, reason=no.format("label map")),
    }


def check_strength(settings: Settings) -> None:
    """Refuse a strength that leaves no step.

    Raises:
        ValueError: an edit would have none; most samplers then fail at every picture.
    """
    strength, steps = settings.get("strength"), settings.get("steps")
    if strength is not None and steps is not None and int(strength * steps) < 1:
        raise ValueError(f"strength is {strength} of {steps} steps, which leaves none; raise one")


def check_share(settings: Settings) -> None:
    """Refuse a share of steps that a masked model would take for no edit at all.

    Raises:
        ValueError: the steps of an edit are none, or all of them; aMUSEd's schedule masks nothing then.
    """
    strength, steps = settings["strength"], settings["steps"]
    if settings["mode"] == "img2img" and not 0 < int(strength * steps) < steps:
        raise ValueError(
            f"strength is {strength} of {steps} steps and must leave some steps out and some in; "
            "mode=text draws everything anew"
        )


class StableDiffusion(DiffusionAdapter):
    """Image-to-image, or text-to-image as the reference that sees nothing."""

    name = "stable-diffusion"
    capabilities: Mapping[Task, Capability] = capabilities_of("img2img")
    download_size: ClassVar[int | None] = SD_BYTES
    editing: ClassVar[str] = NOISING
    seen = 1
    classes: ClassVar[Mapping[str, str]] = {
        "img2img": "StableDiffusionImg2ImgPipeline",
        "text": "StableDiffusionPipeline",
    }

    def __init__(
        self,
        weights: str = SD_1_5,
        mode: str = "img2img",
        prompt: str = "instruction",
        strength: float = 0.8,
        steps: int = 50,
        guidance: float = 7.5,
        sampler: str = "own",
        negative: str = "",
        resolution: int = 512,
        precision: str = "auto",
        memory: str = "none",
    ) -> None:
        settings = {"mode": one_of("mode", mode, MODES)} | checked(
            prompt="target" if mode == "text" else prompt,  # an instruction describes no picture
            strength=strength,
            steps=steps,
            guidance=guidance,
            sampler=sampler,
            negative=negative,
            resolution=resolution,
            precision=precision,
            memory=memory,
        )
        if mode == "img2img":
            check_strength(settings)
        super().__init__(settings, self.sources({"weights": weights}))
        self.capabilities = capabilities_of(mode, self.editing)

    @classmethod
    def sources(cls, settings: Mapping[str, Any]) -> Mapping[str, Source]:
        """The pipeline."""
        return {"pipeline": source_of(settings["weights"], pipeline=True)}

    def setup(self, context: Context) -> None:
        """Load the pipeline; refuses a data set without the captions that it reads."""
        text_of(context.examples[0], self.settings["prompt"])
        super().setup(context)

    def _load(self, task: Task, dtype: torch.dtype) -> Any:
        import diffusers

        kind = getattr(diffusers, self.classes[self.settings["mode"]])
        return load_part(kind, self._found["pipeline"], dtype)

    def _arguments(self, batch: Sequence[Example]) -> dict[str, Any]:
        side = self.settings["resolution"]
        picture = (
            {"height": side, "width": side}
            if self.settings["mode"] == "text"
            else {
                "image": pipelines.conditions(batch, side),
                "strength": self.settings["strength"],
            }
        )
        return picture | {
            "prompt": [text_of(example, self.settings["prompt"]) for example in batch],
            "negative_prompt": [self.settings["negative"]] * len(batch),
            "num_inference_steps": self.settings["steps"],
            "guidance_scale": self.settings["guidance"],
        }
