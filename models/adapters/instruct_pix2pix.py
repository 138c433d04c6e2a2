"""`instruct-pix2pix-scenes`: a compact InstructPix2Pix through diffusers' own pipeline and file format."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from editar_bench.contracts import Context
from editar_bench.errors import UserError
from editar_bench.types import Capability, Example, Generation, How, Settings, Task
from models.adapters.common import NATIVE, check_sizes, generations, number, quiet, whole
from models.weights_manifest import WEIGHTS, checked

STEPS = 20  # published: 100; each step runs the network three times, and the suite must finish on two cores
GUIDANCE = 1.5  # chosen on the validation split among 1.5, 3, 7.5 with image guidance 1.0, 1.5 (published: 7.5)
IMAGE_GUIDANCE = 1.5  # published
_UNTRAINED = "InstructPix2Pix was trained on instruction edits only and never saw a {} as input"


class InstructPix2PixScenes:
    """The pipeline of `weights/instruct-pix2pix` with the Euler ancestral sampler."""

    name = "instruct-pix2pix-scenes"
    kind: Literal["measured"] = "measured"
    ceiling = "codec-kl"  # its own decoder's row
    capabilities: ClassVar[Mapping[Task, Capability]] = {
        Task.EDIT: NATIVE,
        Task.DEPTH: Capability(how=How.NO, reason=_UNTRAINED.format("depth map")),
        Task.EDGE: Capability(how=How.NO, reason=_UNTRAINED.format("edge map")),
        Task.SEGMENTATION: Capability(how=How.NO, reason=_UNTRAINED.format("label map")),
    }
    batch_size = 25

    def __init__(
        self,
        steps: int = STEPS,
        guidance: float = GUIDANCE,
        image_guidance: float = IMAGE_GUIDANCE,
    ) -> None:
        self.settings: Settings = {
            "steps": whole("steps", steps, 1),
            "guidance": number("guidance", guidance, 1.0),
            "image_guidance": number("image_guidance", image_guidance, 1.0),
        }
        self._root: Path = WEIGHTS
        self.fingerprint: Mapping[str, str] = checked(self._root, ["instruct-pix2pix"])
        self._pipeline: Any = None
        self._device = ""

    def setup(self, context: Context) -> None:
        """Load the pipeline in float32."""
        if self._pipeline is None:
            self._pipeline = load_pipeline(self._root / "instruct-pix2pix")
        if self._device != context.device:
            self._pipeline.to(context.device)
            self._device = context.device

    def generate(self, batch: Sequence[Example], seeds: Sequence[int]) -> list[Generation]:
        """One edit an example; all noise of a picture comes from its own seed on the CPU."""
        import torch

        assert self._pipeline is not None, "setup comes first"
        started = time.perf_counter()
        check_sizes(self.name, batch, self._pipeline.vae.config.sample_size)
        # Batches as one array of [0, 1]: for tensors diffusers guesses the range from their values.
        conditions_BHW3 = (
            np.stack([example.condition for example in batch]).astype(np.float32) / 255
        )
        images_BHW3 = self._pipeline(
            prompt=[example.prompt for example in batch],
            image=conditions_BHW3,
            num_inference_steps=self.settings["steps"],
            guidance_scale=self.settings["guidance"],
            image_guidance_scale=self.settings["image_guidance"],
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
            output_type="np",
        ).images
        pictures = list((images_BHW3 * 255).round().astype(np.uint8))
        return generations(pictures, started)


def load_pipeline(folder: Path) -> Any:
    """The pipeline of a local folder in diffusers' format: float32, on the CPU, without a progress bar.

    Raises:
        UserError: the folder cannot be read as such a pipeline.
    """
    import torch
    from diffusers import EulerAncestralDiscreteScheduler, StableDiffusionInstructPix2PixPipeline

    try:
        with quiet():
            pipeline = StableDiffusionInstructPix2PixPipeline.from_pretrained(
                str(folder), local_files_only=True
            ).to(torch.float32)
    except Exception as error:  # diffusers, transformers and safetensors raise their own kinds
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"The pipeline in {folder} cannot be loaded ({reason}); fetch its files again"
        ) from error
    pipeline.scheduler = EulerAncestralDiscreteScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
