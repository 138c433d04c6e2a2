"""Recipe of the shared codec: pictures and condition pictures, plain and multi-scale quantization in turn.

The first part of the budget trains without quantization, so that the codebook can start from latents that
mean something; after that dead codes are revived from current latents every 50 steps.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from editar_bench.types import Picture
from models.editar.checkpoint import load_codec, save_half
from models.editar.codec import Codec, CodecConfig
from models.editar.quantizer import revive
from models.training import round_trips
from models.training.bank import Bank
from models.training.data import CONDITION_SHARE, OBJECT_WEIGHT, mixed_batch
from models.training.recipe import Clock

UNQUANTIZED_SHARE = 0.10  # of the budget
REVIVE_STEPS = 50
QUANTIZER_WEIGHT = 1.0


class CodecRecipe:
    """Trains `Codec` on the bank."""

    muon = True

    def __init__(
        self,
        config: CodecConfig,
        train: Bank,
        validation: Bank,
        *,
        learning_rate: float = 2e-3,
        batch_size: int = 8,  # small: at these budgets the number of steps is what counts
        name: str = "codec",
    ) -> None:
        self.config, self.train, self.validation, self.name = config, train, validation, name
        self.learning_rate, self.batch_size = learning_rate, batch_size
        self.multiscale = config.multiscale is not None
        self.settings: dict[str, Any] = {
            "codec": asdict(config),
            "object_weight": OBJECT_WEIGHT,
            "condition_share": CONDITION_SHARE,
            "unquantized_share": UNQUANTIZED_SHARE,
            "multiscale": self.multiscale,
        }
        self._latents_MC: Tensor | None = None
        self._continued = False  # from shipped weights, whose codebook must not be drawn anew

    def build(self) -> nn.Module:
        """A fresh codec."""
        return Codec(self.config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss(
        self, module: Codec, clock: Clock, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Weighted L1 + 2 L2 of the reconstruction, plus the quantizer's loss, in one of the two modes."""
        images, weight = mixed_batch(self.train, self.batch_size, generator)
        device = next(module.parameters()).device
        images, weight = images.to(device), weight.to(device)
        latents = module.latents(images)
        self._latents_MC = latents.detach().permute(0, 2, 3, 1).reshape(-1, latents.shape[1])
        if clock.share < UNQUANTIZED_SHARE and not self._continued:
            restored, quantizer_loss = module.reconstruct(latents), latents.new_zeros(())
        else:
            self._revive(module, clock, generator)
            use_pyramid = self.multiscale and clock.step % 2 == 1
            quantize = module.multiscale if use_pyramid else None
            quantized = quantize(latents, module.quantize) if quantize else module.quantize(latents)
            restored, quantizer_loss = module.reconstruct(quantized.features_BCHW), quantized.loss
        pictures = picture_loss(restored, images, weight)
        parts = {"picture": float(pictures.detach()), "quantizer": float(quantizer_loss.detach())}
        return pictures + QUANTIZER_WEIGHT * quantizer_loss, parts

    def _revive(self, module: Codec, clock: Clock, generator: torch.Generator) -> None:
        """Fill the codebook from latents when quantization starts, and its dead codes from then on."""
        quantizer = module.quantize
        if self._continued and bool((quantizer.codebook_used < 0).any()):
            return  # until the window is full, codes of the shipped codebook only look dead
        fresh = bool((quantizer.codebook_used < 0).all())
        if self._latents_MC is not None and (fresh or clock.step % REVIVE_STEPS == 0):
            revive(quantizer.embedding.weight.data, quantizer.usage(), self._latents_MC, generator)

    def validate(self, module: Codec) -> dict[str, float]:
        """PSNR of the round trip per kind of picture, on objects in both modes, and codes in use."""
        plain = partial(_round_trip, module)
        figures = round_trips.object_psnr(self.validation, plain)
        if self.multiscale:
            pyramid = round_trips.object_psnr(self.validation, partial(plain, multiscale=True))
            figures["psnr_objects_multiscale"] = pyramid["psnr_objects"]
        figures |= round_trips.condition_psnr(self.validation, plain)
        figures["codes_used"] = float((module.quantize.usage() > 0).sum())
        return figures

    def sheet(self, module: Codec) -> Picture:
        """Per kind of picture: originals and their round trips."""
        return round_trips.sheet(self.validation, partial(_round_trip, module))

    def load(self, module: Codec, folder: Path) -> None:
        """Continue from shipped weights."""
        shipped = load_codec(
            folder / "codec.safetensors", json.loads((folder / "config.json").read_text())["vq"]
        )
        module.load_state_dict(shipped.state_dict())
        self._continued = True

    def export(self, module: Codec, folder: Path) -> None:
        """Half precision beside the config."""
        folder.mkdir(parents=True, exist_ok=True)
        save_half(module, folder / "codec.safetensors")
        (folder / "config.json").write_text(
            json.dumps({"vq": asdict(self.config)}, indent=1) + "\n"
        )


def picture_loss(restored: Tensor, images: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of L1 + 2 L2 of pictures (B, 3, H, W) under pixel weights (B, 1, H, W)."""
    error = restored - images
    return (weight * (error.abs() + 2 * error.square())).sum() / (3 * weight.sum())


def _round_trip(module: Codec, images: Tensor, *, multiscale: bool = False) -> Tensor:
    images = images.to(next(module.parameters()).device)
    with torch.no_grad():
        if multiscale:
            return module.decode_multiscale(module.encode_multiscale(images)).cpu()
        return module.decode(module.encode(images)).cpu()
