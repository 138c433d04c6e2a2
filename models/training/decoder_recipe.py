"""Recipe that trains the codec's decoder alone: encoder, codebook and so every code stay as they are.

Generators predict codes. What makes codes cannot change any more once they are trained, but what turns codes into
pictures can, and every model on the codec gains from it at once.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from models.editar.codec import Codec, CodecConfig
from models.training.bank import Bank
from models.training.codec_recipe import CodecRecipe, picture_loss
from models.training.data import mixed_batch
from models.training.recipe import Clock
from models.weights_manifest import codes_sha256


class DecoderRecipe(CodecRecipe):
    """Trains `post_quant_conv` and `decoder` of the codec in `folder`, on both kinds of codes in turn."""

    def __init__(self, config: CodecConfig, train: Bank, validation: Bank, folder: Path) -> None:
        super().__init__(config, train, validation, name="decoder")
        self.folder = folder
        self.settings["codes_sha256"] = codes_sha256(folder)

    def build(self) -> nn.Module:
        """The codec as it is, with everything frozen but the way from codes to pictures."""
        module = super().build()
        self.load(module, self.folder)
        module.requires_grad_(False)
        module.decoder.requires_grad_(True)
        module.post_quant_conv.requires_grad_(True)
        return module

    def loss(
        self, module: Codec, clock: Clock, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """The codec's picture loss on codes that are given."""
        images, weight = mixed_batch(self.train, self.batch_size, generator)
        device = next(module.parameters()).device
        images, weight = images.to(device), weight.to(device)
        with torch.autocast(device.type, enabled=False):  # rounding flips codes
            if self.multiscale and clock.step % 2 == 1:
                features = module.quantized_multiscale(module.encode_multiscale(images))
            else:
                features = module.quantized(module.encode(images))
        return picture_loss(module.reconstruct(features), images, weight), {}

    def validate(self, module: Codec) -> dict[str, float]:
        """As for the codec, but without codes in use, which only training them counts."""
        figures = super().validate(module)
        del figures["codes_used"]
        return figures
