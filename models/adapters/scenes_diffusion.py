"""The compact diffusion models, trained on scenes, through the adapters of the released ones.

`stable-diffusion-scenes`, `controlnet-scenes` and `instruct-pix2pix-scenes` differ from those in their weights (of
`models/weights`, where they share an autoencoder and a text encoder), in the size of their pictures, and in guidance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from editar_bench.types import Capability, Example, How, Task
from models import weights_manifest
from models.adapters import pipelines
from models.adapters.assembling import load_assembled
from models.adapters.budgets import training_cost
from models.adapters.common import NATIVE, check_sizes, one_of
from models.adapters.controlnet import ControlNet
from models.adapters.diffusion import DiffusionAdapter, checked
from models.adapters.hub import Source
from models.adapters.instruction_editors import InstructPix2Pix
from models.adapters.stable_diffusion import MODES, StableDiffusion, capabilities_of
from models.weights_manifest import WEIGHTS

if TYPE_CHECKING:
    import torch

SIDE = 64  # pixels; the only size that the networks have seen
SHARED = ("vae", "text")
BASE = "stable-diffusion"
FAMILY = (BASE, "controlnet-depth", "controlnet-edge", "controlnet-segmentation")
# Best of four trials each on the validation split (32 samples a task, mean gap closed; docs/training-log.md).
# Published: guidance 7.5 for all three, strength 0.8, 20 steps and control scale 1 of the ControlNets, image guidance
# 1.5 and 100 steps of InstructPix2Pix, which runs its network three times a step.
STRENGTH = 0.45
EDIT_GUIDANCE = 3.0
CONTROL_STEPS, CONTROL_GUIDANCE, CONTROL_SCALE = 10, 1.0, 2.0
INSTRUCT_STEPS, INSTRUCT_GUIDANCE, IMAGE_GUIDANCE = 40, 1.5, 1.5


class _Scenes(DiffusionAdapter):
    """Weights of the repository in the place of downloaded ones."""

    ceiling = "codec-kl"  # their own decoder's row
    batch_size = 25
    download_size: ClassVar[int | None] = None
    folders: ClassVar[Sequence[str]]  # of the networks, in the order of training
    family: ClassVar[Sequence[str]]  # the networks that share the training budget of a paradigm
    shared: ClassVar[Sequence[str]] = SHARED

    def __init__(self, **settings: Any) -> None:
        # Single precision everywhere, since a network this small gains nothing from half.
        fixed = checked(negative="", resolution=SIDE, precision="float32", memory="none")
        DiffusionAdapter.__init__(self, settings | fixed, {})
        self._root: Path = WEIGHTS
        self.fingerprint = weights_manifest.checked(self._root, [*self.folders, *self.shared])
        self.training = training_cost(
            [self._root / name / f"{name}.training.json" for name in self.family]
        )

    @classmethod
    def sources(cls, settings: Mapping[str, Any]) -> Mapping[str, Source]:
        """Nothing to find or to fetch."""
        return {}

    def _arguments(self, batch: Sequence[Example]) -> dict[str, Any]:
        check_sizes(self.name, batch, SIDE)
        return super()._arguments(batch)


class StableDiffusionScenes(_Scenes, StableDiffusion):
    """Edits by noising the source and denoising it under the caption of the result."""

    name = "stable-diffusion-scenes"
    folders = (BASE,)
    family = FAMILY

    def __init__(
        self,
        mode: str = "img2img",
        prompt: str = "target",
        strength: float = STRENGTH,
        steps: int = 50,
        guidance: float = EDIT_GUIDANCE,
    ) -> None:
        settings = checked(
            prompt="target" if mode == "text" else prompt,
            strength=strength,
            steps=steps,
            guidance=guidance,
        )
        super().__init__(mode=one_of("mode", mode, MODES), **settings)
        self.capabilities = capabilities_of(mode)

    def _load(self, task: Task, dtype: torch.dtype) -> Any:
        import diffusers

        kind = getattr(diffusers, self.classes[self.settings["mode"]])
        return load_assembled(kind, diffusers.PNDMScheduler, self._root / BASE)


class ControlNetScenes(_Scenes, ControlNet):
    """One network a task on the frozen Stable Diffusion of the scenes."""

    name = "controlnet-scenes"
    folders = family = FAMILY
    capabilities = {
        Task.EDIT: Capability(
            how=How.NO,
            reason="its networks read depth, edge and label maps, none reads a photograph",
        ),
        Task.DEPTH: NATIVE,
        Task.EDGE: NATIVE,
        Task.SEGMENTATION: NATIVE,
    }

    def __init__(
        self,
        steps: int = CONTROL_STEPS,
        guidance: float = CONTROL_GUIDANCE,
        scale: float = CONTROL_SCALE,
    ) -> None:
        settings = checked(steps=steps, guidance=guidance, scale=scale, eta=0.0, added="")
        super().__init__(**settings)

    def _parts(self, task: Task) -> tuple[str, ...]:
        return (f"controlnet-{task}",)

    def _load(self, task: Task, dtype: torch.dtype) -> Any:
        from diffusers import StableDiffusionControlNetPipeline, UniPCMultistepScheduler

        folder = self._root / f"controlnet-{task}"
        return load_assembled(StableDiffusionControlNetPipeline, UniPCMultistepScheduler, folder)


class InstructPix2PixScenes(_Scenes, InstructPix2Pix):
    """A pipeline of its own in one folder, which diffusers reads as it is."""

    name = "instruct-pix2pix-scenes"
    folders = family = ("instruct-pix2pix",)
    shared = ()

    def __init__(
        self,
        steps: int = INSTRUCT_STEPS,
        guidance: float = INSTRUCT_GUIDANCE,
        image_guidance: float = IMAGE_GUIDANCE,
    ) -> None:
        super().__init__(**checked(steps=steps, guidance=guidance, image_guidance=image_guidance))

    def _load(self, task: Task, dtype: torch.dtype) -> Any:
        from diffusers import StableDiffusionInstructPix2PixPipeline

        folder = self._root / self.folders[0]
        return pipelines.load(StableDiffusionInstructPix2PixPipeline, folder, dtype)
