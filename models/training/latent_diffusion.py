"""What every latent diffusion recipe builds upon: noise schedule, network sizes, latents, weight averages.

Noise schedule and sampling of time steps are those of Stable Diffusion (arXiv 2112.10752): scaled-linear betas, uniform
steps. The networks predict v, as Stable Diffusion 2 does (arXiv 2202.00512). At large noise the error of a predicted
noise returns 15-fold in the picture: after 400 steps of 16 edits InstructPix2Pix kept 14.1 dB outside the edit, and
26.9 dB with v. AdamW, which moves what Muon leaves, has five to ten times the usual rate (docs/training-log.md: "What
Muon does not move"). Legend: B batch, C latent channels, H, W latent sides, P parameters.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from models.editar.text import load_text_encoder
from models.training.bank import Bank
from models.training.data import rgb
from models.training.kl_recipe import load_autoencoder

PARTNERS = ("vae", "text")  # of every latent diffusion model
NOISE: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
}
DOWN_BLOCKS = (
    "DownBlock2D",
    "CrossAttnDownBlock2D",
    "CrossAttnDownBlock2D",
)  # text at 16 x 16 would halve the speed
HEAD_CHANNELS = 16
GROUPS = 8
EMA_DECAY = 0.999


class Averaged(nn.Module):
    """A network and the moving average of its weights, which is what gets shipped."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer(
            "average_P", parameters_to_vector(network.parameters()).detach().clone()
        )
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self) -> None:
        """Move the average to the present weights; young averages forget faster."""
        self.updates += 1
        n = int(self.updates)
        decay = min(EMA_DECAY, (1 + n) / (10 + n))
        self.average_P.lerp_(parameters_to_vector(self.network.parameters()), 1 - decay)

    @torch.no_grad()
    def averaged(self) -> Any:
        """A copy of the network with the averaged weights, in eval mode."""
        copy = deepcopy(self.network)
        vector_to_parameters(self.average_P.clone(), copy.parameters())
        return copy.eval()

    @torch.no_grad()
    def restart(self, shipped: nn.Module) -> None:
        """Take weights and average from a shipped network."""
        self.network.load_state_dict(shipped.float().state_dict())
        self.average_P.copy_(parameters_to_vector(self.network.parameters()))


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


class Frozen:
    """The shared autoencoder and text encoder, and the noise that is put on latents."""

    def __init__(self, weights_root: Path) -> None:
        self.vae = load_autoencoder(weights_root / "vae").requires_grad_(False)
        self.text = load_text_encoder(weights_root / "text")
        self.noise = DDPMScheduler(**NOISE)

    def to(self, device: torch.device) -> None:
        """Bring both networks to a device."""
        self.vae.to(device)
        self.text.to(device)

    def unet(self, channels: tuple[int, ...], *, pictures: int = 1) -> UNet2DConditionModel:
        """A fresh UNet of one layer a block that sees the latents of so many pictures."""
        latent_channels = self.vae.config.latent_channels
        return UNet2DConditionModel(
            sample_size=self.vae.config.sample_size
            // 2 ** (len(self.vae.config.block_out_channels) - 1),
            in_channels=pictures * latent_channels,
            out_channels=latent_channels,
            down_block_types=DOWN_BLOCKS,
            up_block_types=tuple(b.replace("Down", "Up") for b in reversed(DOWN_BLOCKS)),
            block_out_channels=channels,
            layers_per_block=1,
            cross_attention_dim=self.text.encoder.config.d_model,
            # diffusers' old name for the number of heads
            attention_head_dim=tuple(width // HEAD_CHANNELS for width in channels),
            norm_num_groups=GROUPS,
        )

    def scaled(
        self, latents: LatentCache, rows: NDArray[np.int64], generator: torch.Generator
    ) -> Tensor:
        """Latents (B, C, H, W) of pictures, drawn from their posterior and scaled to unit variance."""
        mean, std = latents(rows)
        drawn = mean + std * torch.randn(mean.shape, generator=generator)
        return self.vae.config.scaling_factor * drawn

    def error(
        self, unet: nn.Module, texts: list[str], inputs: Tensor, steps: Tensor, wanted: Tensor
    ) -> Tensor:
        """Mean squared error of what a UNet says of its inputs (B, C, H, W), on the UNet's device."""
        device = next(unet.parameters()).device
        self.to(device)
        features = self.text.encode(texts)
        return squared_error(unet(inputs.to(device), steps.to(device), features).sample, wanted)

    def random_steps(self, count: int, generator: torch.Generator) -> Tensor:
        """Time steps int64 (B,), uniform."""
        return torch.randint(NOISE["num_train_timesteps"], (count,), generator=generator)

    def fixed_steps(self, count: int) -> Tensor:
        """Time steps int64 (B,) from the first to the last, for validation."""
        return torch.linspace(0, NOISE["num_train_timesteps"] - 1, count).long()

    def noised(
        self, latents_BCHW: Tensor, steps_B: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Noisy latents, and what the network should say of them (both (B, C, H, W))."""
        noise = torch.randn(latents_BCHW.shape, generator=generator)
        noisy = self.noise.add_noise(latents_BCHW, noise, steps_B)
        return noisy, self.noise.get_velocity(latents_BCHW, noise, steps_B)


def squared_error(guess: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared error of a prediction in any precision."""
    return F.mse_loss(guess.float(), wanted.to(guess.device))


def drop_texts(texts: list[str], share: float, generator: torch.Generator) -> list[str]:
    """Empty a random share of the texts."""
    draw = torch.rand(len(texts), generator=generator)
    return ["" if d < share else text for text, d in zip(texts, draw.tolist(), strict=True)]
