"""Recipe of the KL autoencoder that the diffusion baselines share, in diffusers' own format.

Architecture and objective follow latent diffusion (arXiv 2112.10752) without the perceptual and adversarial parts: L1
and squared error of the pictures plus a slight pull of the latents towards a unit Gaussian. A third of the pictures
are condition pictures, because ControlNets see them. Legend: B batch, H, W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from data_prep.scenes.constants import IMAGE_SIZE
from editar_bench.errors import UserError
from editar_bench.types import Picture
from models.training import round_trips
from models.training.bank import Bank
from models.training.codec_recipe import picture_loss
from models.training.data import CONDITION_SHARE, OBJECT_WEIGHT, mixed_batch, rgb
from models.training.recipe import Clock

CHANNELS = (24, 48, 80)  # two halvings: 64 px become 16 x 16 latents
LATENT_CHANNELS = 4
KL_WEIGHT = 1e-4  # of the divergence per latent value; pulls the spread of the latents to about 1
_SCALE_PICTURES = 384  # whose latents the scaling factor is measured on


class KLRecipe:
    """Trains `AutoencoderKL` on the bank."""

    name = "vae"
    muon = True

    def __init__(
        self,
        train: Bank,
        validation: Bank,
        *,
        learning_rate: float = 1e-3,
        batch_size: int = 6,
    ) -> None:
        self.train, self.validation = train, validation
        self.learning_rate, self.batch_size = learning_rate, batch_size
        self.settings: dict[str, Any] = {
            "channels": CHANNELS,
            "latent_channels": LATENT_CHANNELS,
            "kl_weight": KL_WEIGHT,
            "object_weight": OBJECT_WEIGHT,
            "condition_share": CONDITION_SHARE,
        }

    def build(self) -> nn.Module:
        """A fresh autoencoder; its scaling factor is measured at the end."""
        blocks = len(CHANNELS)
        module = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * blocks,
            up_block_types=("UpDecoderBlock2D",) * blocks,
            block_out_channels=CHANNELS,
            layers_per_block=1,
            latent_channels=LATENT_CHANNELS,
            norm_num_groups=4,  # few channels a group lose their mean, and so the color
            sample_size=IMAGE_SIZE,
            scaling_factor=1.0,
        )
        return module.to(memory_format=torch.channels_last)

    def loss(
        self, module: AutoencoderKL, clock: Clock, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Weighted L1 + 2 L2 of the pictures through sampled latents, plus the divergence."""
        images, weight = mixed_batch(self.train, self.batch_size, generator)
        device = next(module.parameters()).device
        images, weight = images.to(device), weight.to(device)
        posterior = module.encode(images).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator).to(device)
        restored = module.decode(posterior.mean + posterior.std * noise).sample
        pictures = picture_loss(restored, images, weight)
        divergence = posterior.kl().mean() / posterior.mean[0].numel()
        parts = {"picture": float(pictures.detach()), "kl": float(divergence.detach())}
        return pictures + KL_WEIGHT * divergence, parts

    def validate(self, module: AutoencoderKL) -> dict[str, float]:
        """PSNR of the round trip, whole and on objects, per kind of picture; spread of the latents."""
        restore = partial(round_trip, module)
        return {
            **round_trips.object_psnr(self.validation, restore),
            **round_trips.condition_psnr(self.validation, restore),
            "latent_std": latent_std(module, self.validation, 48),
        }

    def sheet(self, module: AutoencoderKL) -> Picture:
        """Per kind of picture: originals and their round trips."""
        return round_trips.sheet(self.validation, partial(round_trip, module))

    def load(self, module: AutoencoderKL, folder: Path) -> None:
        """Continue from shipped weights."""
        module.load_state_dict(load_autoencoder(folder).state_dict())

    def export(self, module: AutoencoderKL, folder: Path) -> None:
        """Half precision in diffusers' format, with the measured scaling factor."""
        shipped = half_copy(module)
        std = latent_std(module, self.train, _SCALE_PICTURES)
        shipped.register_to_config(scaling_factor=round(1 / std, 5))
        shipped.save_pretrained(str(folder), safe_serialization=True)


def load_autoencoder(folder: Path) -> AutoencoderKL:
    """The shipped autoencoder in float32 and eval mode.

    Raises:
        UserError: there is none in `folder`, or it cannot be read.
    """
    try:
        module = AutoencoderKL.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:  # diffusers and safetensors raise their own kinds
        raise UserError(
            f"autoencoder: {folder} cannot be read; run `editar-bench train vae`"
        ) from error
    return module.float().eval()


@torch.no_grad()
def round_trip(module: AutoencoderKL, images: Tensor) -> Tensor:
    """Pictures through the mode of their latents, on the CPU."""
    images = images.to(next(module.parameters()).device)
    return module.decode(module.encode(images).latent_dist.mode()).sample.cpu()


@torch.no_grad()
def latent_std(module: AutoencoderKL, bank: Bank, pictures: int) -> float:
    """Root mean square deviation of all latent values of up to `pictures` pictures, noise included."""
    device = next(module.parameters()).device
    values = []
    for rows in _chunks(np.arange(min(pictures, 2 * len(bank))), 48):
        posterior = module.encode(rgb(bank, rows).to(device)).latent_dist
        values.append((posterior.mean, posterior.var))
    mean, variance = (torch.cat(parts) for parts in zip(*values, strict=True))
    return float((mean.var() + variance.mean()).sqrt())


def half_copy(module: nn.Module) -> Any:
    """A float16 copy on the CPU, checked for overflow."""
    copy = deepcopy(module).cpu().half().eval()
    for name, tensor in copy.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f"{name} has values that half precision cannot hold")
    if hasattr(copy, "register_to_config"):
        copy.register_to_config(_name_or_path="")  # the folder it was loaded from concerns nobody
    return copy


def _chunks(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    return (rows[i : i + size] for i in range(0, len(rows), size))
