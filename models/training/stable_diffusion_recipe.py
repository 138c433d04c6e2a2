"""Recipe of the compact Stable Diffusion (arXiv 2112.10752): pictures from captions, in the latents of the autoencoder.

Classifier-free guidance is trained as published, by emptying a tenth of the captions. The network's encoder is small
enough that its copy, a ControlNet, stays within the budget of those. Legend: B batch.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor, nn

from editar_bench.types import Picture
from models.adapters.assembling import assemble
from models.adapters.common import quiet
from models.adapters.pipelines import generators_of, load
from models.training.bank import Bank
from models.training.data import captions, grid, pick
from models.training.kl_recipe import half_copy
from models.training.latent_diffusion import (
    DOWN_BLOCKS,
    EMA_DECAY,
    NOISE,
    PARTNERS,
    Averaged,
    Frozen,
    LatentCache,
    drop_texts,
)
from models.training.recipe import Clock
from models.weights_manifest import partners

CHANNELS = (48, 64, 48)  # at 16 x 16, 8 x 8 and 4 x 4 for pictures of 64 px
DROPOUT = 0.1  # of the captions
# The sampler of the release, which steps from the schedule's last step on.
SAMPLER: dict[str, Any] = {"skip_prk_steps": True, "steps_offset": 1, "set_alpha_to_one": False}
_LOSS_PICTURES, _SHOWN = 128, 8
_STEPS, _GUIDANCE = 20, 3.0  # of a sheet


class StableDiffusionRecipe:
    """Trains the UNet on all pictures of the bank and their captions."""

    name = "stable-diffusion"
    muon = True

    def __init__(
        self,
        train: Bank,
        validation: Bank,
        weights_root: Path,
        *,
        learning_rate: float = 5e-3,
        batch_size: int = 16,
    ) -> None:
        self.train, self.validation = train, validation
        self.learning_rate, self.batch_size = learning_rate, batch_size
        self.frozen = Frozen(weights_root)
        self.partners = partners(weights_root, PARTNERS)
        self.settings: dict[str, Any] = {
            "channels": CHANNELS,
            "down_blocks": DOWN_BLOCKS,
            "noise": NOISE,
            "dropout": DROPOUT,
            "ema_decay": EMA_DECAY,
            "pictures": 2 * len(train),
            **self.partners,
        }
        self._train_latents = LatentCache(train, self.frozen.vae)
        self._validation_latents = LatentCache(validation, self.frozen.vae)

    def build(self) -> nn.Module:
        """A fresh UNet and its average."""
        return Averaged(self.frozen.unet(CHANNELS))

    def loss(
        self, module: Averaged, clock: Clock, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Squared error of the prediction."""
        module.update()
        rows = pick(2 * len(self.train), self.batch_size, generator)
        latents = self.frozen.scaled(self._train_latents, rows, generator)
        texts = drop_texts(captions(self.train, rows), DROPOUT, generator)
        steps = self.frozen.random_steps(len(rows), generator)
        noisy, wanted = self.frozen.noised(latents, steps, generator)
        return self.frozen.error(module.network, texts, noisy, steps, wanted), {}

    def validate(self, module: Averaged) -> dict[str, float]:
        """Error at fixed noise, with the captions and with those of other pictures."""
        unet = module.averaged()
        generator = torch.Generator().manual_seed(0)
        rows = np.arange(min(_LOSS_PICTURES, 2 * len(self.validation)))
        latents = self.frozen.scaled(self._validation_latents, rows, generator)
        steps = self.frozen.fixed_steps(len(rows))
        noisy, wanted = self.frozen.noised(latents, steps, generator)
        texts = captions(self.validation, rows)
        others = texts[len(texts) // 2 :] + texts[: len(texts) // 2]
        return {
            "error": float(self.frozen.error(unet, texts, noisy, steps, wanted)),
            "error_other_captions": float(self.frozen.error(unet, others, noisy, steps, wanted)),
        }

    def sheet(self, module: Averaged) -> Picture:
        """Pictures made from captions, and the pictures that the captions are of."""
        rows = 2 * np.arange(min(_SHOWN, len(self.validation)))
        made = self._sample(module.averaged(), rows)
        return grid([made, self.validation.maps["rgb"][rows]])

    def _sample(self, unet: UNet2DConditionModel, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        self.frozen.to(unet.device)
        scheduler, vae, text = sampler(), self.frozen.vae, self.frozen.text
        pipeline = assemble(StableDiffusionPipeline, scheduler, vae, text, unet=unet)
        pipeline.set_progress_bar_config(disable=True)
        images = pipeline(
            prompt=captions(self.validation, rows),
            num_inference_steps=_STEPS,
            guidance_scale=_GUIDANCE,
            generator=generators_of(range(len(rows))),
            output_type="np",
        ).images
        return np.asarray((images * 255).round().astype(np.uint8))

    def load(self, module: Averaged, folder: Path) -> None:
        """Continue from the shipped average."""
        module.restart(load(UNet2DConditionModel, folder / "unet"))

    def export(self, module: Averaged, folder: Path) -> None:
        """The averaged UNet in half precision and the sampler's settings, beside a config that names the rest."""
        with quiet():
            half_copy(module.averaged()).save_pretrained(str(folder / "unet"))
        sampler().save_pretrained(str(folder / "scheduler"))
        config = {"vae": "../vae", "text": "../text", **self.partners}
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def sampler() -> PNDMScheduler:
    """The sampler that Stable Diffusion was published with."""
    return PNDMScheduler(**NOISE, **SAMPLER)
