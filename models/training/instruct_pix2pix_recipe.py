"""Recipe of the compact InstructPix2Pix (arXiv 2211.09800): a latent diffusion UNet that sees the source's latents.

Joint dropout and the treatment of both conditions are the published ones: source latents are the posterior's mode
without the scaling factor, a dropped picture is zero latents. All sampling here goes through diffusers' own pipeline,
so that training and benchmark read text and pictures in the same way. Legend: B batch, C latent channels.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    EulerAncestralDiscreteScheduler,
    StableDiffusionInstructPix2PixPipeline,
    UNet2DConditionModel,
)
from numpy.typing import NDArray
from torch import Tensor, nn

from data_prep.scenes.masks import TOLERANCE
from editar_bench.types import Picture
from models.adapters.assembling import assemble
from models.adapters.common import quiet
from models.adapters.pipelines import generators_of, load
from models.editar.text import TextEncoder
from models.training.bank import Bank
from models.training.data import grid, pick
from models.training.kl_recipe import half_copy
from models.training.latent_diffusion import (
    DOWN_BLOCKS,
    EMA_DECAY,
    NOISE,
    PARTNERS,
    Averaged,
    Frozen,
    LatentCache,
)
from models.training.recipe import Clock
from models.training.token_stream import visible_edits
from models.weights_manifest import partners

CHANNELS = (48, 64, 64)  # at 16 x 16, 8 x 8 and 4 x 4 for pictures of 64 px
DROPOUT = 0.05  # for each of: text only, picture only, both
_LOSS_EDITS, _SAMPLED_EDITS, _SAMPLED_STEPS = 64, 24, 10  # of a validation
_GUIDANCE, _IMAGE_GUIDANCE = 1.5, 1.5  # of a validation


class InstructPix2PixRecipe:
    """Trains the UNet on the visible edits of the bank."""

    name = "instruct-pix2pix"
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
        self.text_folder = weights_root / "text"
        self.partners = partners(weights_root, PARTNERS)
        self.settings: dict[str, Any] = {
            "channels": CHANNELS,
            "down_blocks": DOWN_BLOCKS,
            "noise": NOISE,
            "dropout": DROPOUT,
            "ema_decay": EMA_DECAY,
            "edits": len(train),
            **self.partners,
        }
        self._train_latents = LatentCache(train, self.frozen.vae)
        self._validation_latents = LatentCache(validation, self.frozen.vae)
        self._edits = visible_edits(train)
        self._validation_edits = visible_edits(validation)

    def build(self) -> nn.Module:
        """A fresh UNet and its average."""
        return Averaged(self.frozen.unet(CHANNELS, pictures=2))

    def loss(
        self, module: Averaged, clock: Clock, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Squared error of the prediction."""
        module.update()
        edits = self._edits[pick(len(self._edits), self.batch_size, generator)]
        texts = [self.train.texts[i]["instruction"] for i in edits]
        sources, _ = self._train_latents(2 * edits)
        targets = self.frozen.scaled(self._train_latents, 2 * edits + 1, generator)
        texts, sources = drop_conditions(texts, sources, generator)
        steps = self.frozen.random_steps(len(edits), generator)
        noisy, wanted = self.frozen.noised(targets, steps, generator)
        return self.frozen.error(
            module.network, texts, torch.cat([noisy, sources], 1), steps, wanted
        ), {}

    def validate(self, module: Averaged) -> dict[str, float]:
        """Error at fixed noise, and how much of the way from copy to truth sampled edits go."""
        unet = module.averaged()
        generator = torch.Generator().manual_seed(0)
        edits = self._validation_edits[:_LOSS_EDITS]
        texts = [self.validation.texts[i]["instruction"] for i in edits]
        targets = self.frozen.scaled(self._validation_latents, 2 * edits + 1, generator)
        steps = self.frozen.fixed_steps(len(edits))
        noisy, wanted = self.frozen.noised(targets, steps, generator)
        inputs = torch.cat([noisy, self._validation_latents(2 * edits)[0]], dim=1)
        figures = {"error": float(self.frozen.error(unet, texts, inputs, steps, wanted))}
        return figures | self._edit_figures(unet)

    def _edit_figures(self, unet: UNet2DConditionModel) -> dict[str, float]:
        edits = self._validation_edits[:_SAMPLED_EDITS]
        made = self._sample(unet, edits).astype(np.float64)
        source, truth = (
            self.validation.maps["rgb"][2 * edits + i].astype(np.float64) for i in (0, 1)
        )
        changed = np.any(np.abs(source - truth) > TOLERANCE, axis=-1)
        errors = {}
        for name, pictures in (("edit", made), ("copy", source)):
            squared = ((pictures - truth) / 255) ** 2
            errors[name] = float(
                np.mean([s[c].mean() for s, c in zip(squared, changed, strict=True)])
            )
        outside = (((made - source) / 255) ** 2)[~changed].mean()
        return {
            "edit_squared_error": errors["edit"],
            "edit_gap_closed": 1 - errors["edit"] / errors["copy"],
            "outside_psnr": float(-10 * np.log10(max(outside, 1e-9))),
        }

    def _sample(self, unet: UNet2DConditionModel, edits: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Edited pictures (B, H, W, 3) of validation edits, with the seeds 0, 1, ..."""
        self.frozen.to(unet.device)
        pipeline = instruct_pipeline(unet, self.frozen.vae, self.frozen.text)
        pipeline.set_progress_bar_config(disable=True)
        images = pipeline(
            prompt=[self.validation.texts[i]["instruction"] for i in edits],
            image=self.validation.maps["rgb"][2 * edits].astype(np.float32) / 255,
            num_inference_steps=_SAMPLED_STEPS,
            guidance_scale=_GUIDANCE,
            image_guidance_scale=_IMAGE_GUIDANCE,
            generator=generators_of(range(len(edits))),
            output_type="np",
        ).images
        return np.asarray((images * 255).round().astype(np.uint8))

    def sheet(self, module: Averaged) -> Picture:
        """Sources, outputs, truths."""
        edits = self._validation_edits[:8]
        made = self._sample(module.averaged(), edits)
        pictures = self.validation.maps["rgb"]
        return grid([pictures[2 * edits], made, pictures[2 * edits + 1]])

    def load(self, module: Averaged, folder: Path) -> None:
        """Continue from the shipped average."""
        module.restart(load(UNet2DConditionModel, folder / "unet"))

    def export(self, module: Averaged, folder: Path) -> None:
        """The whole pipeline in half precision, self-contained, in diffusers' format."""
        text = self.frozen.text
        pipeline = instruct_pipeline(
            half_copy(module.averaged()),
            half_copy(self.frozen.vae),
            TextEncoder(half_copy(text.encoder), text.tokenizer, text.slots),
        )
        with quiet():
            pipeline.save_pretrained(str(folder), safe_serialization=True)
        # The shared tokenizer as it is: the same file for every paradigm and every version of transformers.
        shutil.rmtree(folder / "tokenizer")
        (folder / "tokenizer").mkdir()
        for name in ("spiece.model", "tokenizer_config.json"):
            shutil.copyfile(self.text_folder / name, folder / "tokenizer" / name)
        (folder / "config.json").write_text(json.dumps(self.partners, indent=1) + "\n")


def instruct_pipeline(unet: Any, vae: Any, text: TextEncoder) -> Any:
    """Diffusers' InstructPix2Pix around our networks, with the authors' sampler."""
    scheduler = EulerAncestralDiscreteScheduler(**NOISE)
    return assemble(StableDiffusionInstructPix2PixPipeline, scheduler, vae, text, unet=unet)


def drop_conditions(
    texts: list[str], sources: Tensor, generator: torch.Generator
) -> tuple[list[str], Tensor]:
    """Empty 5 % of the texts, zero 5 % of the source latents, and do both to another 5 %."""
    draw = torch.rand(len(texts), generator=generator)
    without_text = (draw < DROPOUT) | (draw >= 1 - DROPOUT)
    without_image = (draw >= DROPOUT) & (draw < 2 * DROPOUT) | (draw >= 1 - DROPOUT)
    texts = ["" if dropped else text for text, dropped in zip(texts, without_text, strict=True)]
    return texts, sources * ~without_image[:, None, None, None]
