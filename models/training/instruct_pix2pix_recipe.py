"""Recipe of the compact InstructPix2Pix (arXiv 2211.09800): a latent diffusion UNet that sees the source's latents.

Noise schedule, joint dropout and the treatment of both conditions are the published ones: scaled-linear betas, source
latents are the posterior's mode without the scaling factor, a dropped picture is zero latents. All sampling here goes
through diffusers' own pipeline, so that training and benchmark read text and pictures in the same way.
Legend: B batch, C latent channels, T text slots, P parameters.
"""

from __future__ import annotations

import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    EulerAncestralDiscreteScheduler,
    StableDiffusionInstructPix2PixPipeline,
    UNet2DConditionModel,
)
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from data_prep.scenes.masks import TOLERANCE
from editar_bench.types import Picture
from models.adapters.common import quiet
from models.editar.text import TextEncoder, load_text_encoder
from models.training.bank import Bank
from models.training.data import grid, pick, rgb
from models.training.kl_recipe import half_copy, load_autoencoder
from models.training.token_stream import visible_edits
from models.training.trainer import Clock

CHANNELS = (48, 64, 64)  # at 16 x 16, 8 x 8 and 4 x 4 for pictures of 64 px
DOWN_BLOCKS = (
    "DownBlock2D",
    "CrossAttnDownBlock2D",
    "CrossAttnDownBlock2D",
)  # text at 16 x 16 would halve the speed
HEADS = 4
NOISE: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
}
DROPOUT = 0.05  # for each of: text only, picture only, both
EMA_DECAY = 0.999
_LOSS_EDITS, _SAMPLED_EDITS, _SAMPLED_STEPS = 64, 24, 10  # of a validation
_GUIDANCE, _IMAGE_GUIDANCE = 3.0, 1.5  # of a validation


class AveragedUNet(nn.Module):
    """A UNet and the moving average of its weights, which is what gets shipped."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.unet = unet
        self.register_buffer("average_P", parameters_to_vector(unet.parameters()).detach().clone())
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self) -> None:
        """Move the average to the present weights; young averages forget faster."""
        self.updates += 1
        n = int(self.updates)
        decay = min(EMA_DECAY, (1 + n) / (10 + n))
        self.average_P.lerp_(parameters_to_vector(self.unet.parameters()), 1 - decay)

    @torch.no_grad()
    def averaged(self) -> UNet2DConditionModel:
        """A UNet with the averaged weights, in eval mode."""
        copy = deepcopy(self.unet)
        vector_to_parameters(self.average_P.clone(), copy.parameters())
        return copy.eval()


class LatentCache:
    """Posterior mean and standard deviation of a bank's pictures, made when first asked for."""

    def __init__(self, bank: Bank, vae: AutoencoderKL) -> None:
        self.bank, self.vae = bank, vae
        self._known = np.zeros(2 * len(bank), dtype=bool)
        self._moments: Tensor | None = None  # float16 (2 n, 2 C, H, W)

    @torch.no_grad()
    def __call__(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, float32 (B, C, H, W) each, on the CPU."""
        new = np.unique(rows[~self._known[rows]])
        if len(new):
            device = self.vae.device
            with torch.autocast(device.type, enabled=False):  # kept for the whole run: exact
                posterior = self.vae.encode(rgb(self.bank, new).to(device)).latent_dist
            moments = torch.cat([posterior.mean, posterior.std], dim=1).half().cpu()
            if self._moments is None:
                self._moments = moments.new_zeros((len(self._known), *moments.shape[1:]))
            self._moments[torch.from_numpy(new)] = moments
            self._known[new] = True
        assert self._moments is not None
        mean, std = self._moments[torch.from_numpy(rows)].float().chunk(2, dim=1)
        return mean, std


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
        learning_rate: float = 1e-3,
        batch_size: int = 32,
    ) -> None:
        self.train, self.validation = train, validation
        self.learning_rate, self.batch_size = learning_rate, batch_size
        self.vae = load_autoencoder(find_autoencoder(weights_root)).requires_grad_(False)
        self.text_folder = weights_root / "text"
        self.text = load_text_encoder(self.text_folder)
        self.noise = DDPMScheduler(**NOISE)
        self.settings: dict[str, Any] = {
            "channels": CHANNELS,
            "down_blocks": DOWN_BLOCKS,
            "noise": NOISE,
            "dropout": DROPOUT,
            "ema_decay": EMA_DECAY,
            "edits": len(train),
        }
        self._train_latents = LatentCache(train, self.vae)
        self._validation_latents = LatentCache(validation, self.vae)
        self._edits = visible_edits(train)
        self._validation_edits = visible_edits(validation)

    def build(self) -> nn.Module:
        """A fresh UNet and its average."""
        return AveragedUNet(
            UNet2DConditionModel(
                sample_size=self.vae.config.sample_size
                // 2 ** (len(self.vae.config.block_out_channels) - 1),
                in_channels=2 * self.vae.config.latent_channels,
                out_channels=self.vae.config.latent_channels,
                down_block_types=DOWN_BLOCKS,
                up_block_types=tuple(b.replace("Down", "Up") for b in reversed(DOWN_BLOCKS)),
                block_out_channels=CHANNELS,
                layers_per_block=1,
                cross_attention_dim=self.text.encoder.config.d_model,
                attention_head_dim=HEADS,  # diffusers' old name for the number of heads
                norm_num_groups=8,
            )
        )

    def loss(
        self, module: AveragedUNet, clock: Clock, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Squared error of the predicted noise."""
        device = self._place(module)
        module.update()
        edits = self._edits[pick(len(self._edits), self.batch_size, generator)]
        texts = [self.train.texts[i]["instruction"] for i in edits]
        sources, _ = self._train_latents(2 * edits)
        targets = self._noisy_targets(self._train_latents, edits, generator)
        texts, sources = drop_conditions(texts, sources, generator)
        steps = torch.randint(NOISE["num_train_timesteps"], (len(edits),), generator=generator)
        noise = torch.randn(targets.shape, generator=generator)
        inputs = torch.cat([self.noise.add_noise(targets, noise, steps), sources], dim=1)
        features = self.text.encode(texts)
        guess = module.unet(inputs.to(device), steps.to(device), features).sample
        return F.mse_loss(guess, noise.to(device)), {}

    def _noisy_targets(
        self, latents: LatentCache, edits: NDArray[np.int64], generator: torch.Generator
    ) -> Tensor:
        """Latents of the edited pictures, drawn from their posterior and scaled."""
        mean, std = latents(2 * edits + 1)
        return self.vae.config.scaling_factor * (
            mean + std * torch.randn(mean.shape, generator=generator)
        )

    def _place(self, module: nn.Module) -> torch.device:
        """Bring the frozen networks to where the module is."""
        device = next(module.parameters()).device
        self.vae.to(device)
        self.text.to(device)
        return device

    def validate(self, module: AveragedUNet) -> dict[str, float]:
        """Noise error at fixed noise, and how much of the way from copy to truth sampled edits go."""
        device = self._place(module)
        unet = module.averaged()
        generator = torch.Generator().manual_seed(0)
        edits = self._validation_edits[:_LOSS_EDITS]
        targets = self._noisy_targets(self._validation_latents, edits, generator)
        steps = torch.linspace(0, NOISE["num_train_timesteps"] - 1, len(edits)).long()
        noise = torch.randn(targets.shape, generator=generator)
        noisy = self.noise.add_noise(targets, noise, steps)
        inputs = torch.cat([noisy, self._validation_latents(2 * edits)[0]], dim=1).to(device)
        features = self.text.encode([self.validation.texts[i]["instruction"] for i in edits])
        guess = unet(inputs, steps.to(device), features).sample
        figures = {"noise_error": float(F.mse_loss(guess, noise.to(device)))}
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
        pipeline = assemble(unet, self.vae, self.text)
        pipeline.set_progress_bar_config(disable=True)
        images = pipeline(
            prompt=[self.validation.texts[i]["instruction"] for i in edits],
            image=self.validation.maps["rgb"][2 * edits].astype(np.float32) / 255,
            num_inference_steps=_SAMPLED_STEPS,
            guidance_scale=_GUIDANCE,
            image_guidance_scale=_IMAGE_GUIDANCE,
            generator=[torch.Generator().manual_seed(i) for i in range(len(edits))],
            output_type="np",
        ).images
        return np.asarray((images * 255).round().astype(np.uint8))

    def sheet(self, module: AveragedUNet) -> Picture:
        """Sources, outputs, truths."""
        self._place(module)
        edits = self._validation_edits[:8]
        made = self._sample(module.averaged(), edits)
        return grid(
            [
                self.validation.maps["rgb"][2 * edits],
                made,
                self.validation.maps["rgb"][2 * edits + 1],
            ]
        )

    def load(self, module: AveragedUNet, folder: Path) -> None:
        """Continue from the shipped average."""
        shipped = UNet2DConditionModel.from_pretrained(str(folder / "unet"), local_files_only=True)
        module.unet.load_state_dict(shipped.float().state_dict())
        module.average_P.copy_(parameters_to_vector(module.unet.parameters()).detach())

    def export(self, module: AveragedUNet, folder: Path) -> None:
        """The whole pipeline in half precision, self-contained, in diffusers' format."""
        text = TextEncoder(half_copy(self.text.encoder), self.text.tokenizer, self.text.slots)
        pipeline = assemble(half_copy(module.averaged()), half_copy(self.vae), text)
        with quiet():
            pipeline.save_pretrained(str(folder), safe_serialization=True)
        # The shared tokenizer as it is: the same file for every paradigm and every version of transformers.
        shutil.rmtree(folder / "tokenizer")
        (folder / "tokenizer").mkdir()
        for name in ("spiece.model", "tokenizer_config.json"):
            shutil.copyfile(self.text_folder / name, folder / "tokenizer" / name)


def assemble(
    unet: UNet2DConditionModel, vae: AutoencoderKL, text: TextEncoder
) -> StableDiffusionInstructPix2PixPipeline:
    """Diffusers' pipeline around our networks; it masks padding in the text encoder as `TextEncoder.encode` does."""
    text.encoder.config.use_attention_mask = True
    text.tokenizer.model_max_length = text.slots
    return StableDiffusionInstructPix2PixPipeline(
        vae=vae,
        text_encoder=text.encoder,
        tokenizer=text.tokenizer,
        unet=unet,
        scheduler=EulerAncestralDiscreteScheduler(**NOISE),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def drop_conditions(
    texts: list[str], sources: Tensor, generator: torch.Generator
) -> tuple[list[str], Tensor]:
    """Empty 5 % of the texts, zero 5 % of the source latents, and do both to another 5 %."""
    draw = torch.rand(len(texts), generator=generator)
    without_text = (draw < DROPOUT) | (draw >= 1 - DROPOUT)
    without_image = (draw >= DROPOUT) & (draw < 2 * DROPOUT) | (draw >= 1 - DROPOUT)
    texts = ["" if dropped else text for text, dropped in zip(texts, without_text, strict=True)]
    return texts, sources * ~without_image[:, None, None, None]


def find_autoencoder(weights_root: Path) -> Path:
    """Where the trained autoencoder lies: on its own, or inside the shipped pipeline."""
    own = weights_root / "vae"
    return own if (own / "config.json").is_file() else weights_root / "instruct-pix2pix" / "vae"
