"""The reader whose opinion rewards EditAR: what every 2 × 2 pixels of a picture show, also of a generated one.

It reads label, color and material, inverse depth and surface normal. It is trained on the generators' stream, knows
what the codec does to a picture, judges nothing that is reported, and is not shipped.
Legend: B pictures, C channels, H × W pixels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from data_prep.scenes.constants import IMAGE_SIZE
from data_prep.scenes.description import COLORS, LABELS, MATERIALS
from editar_bench.errors import UserError
from editar_bench.types import Picture
from models.editar.checkpoint import load_codec
from models.training.bank import Bank
from models.training.data import pick, rgb
from models.training.recipe import Clock

SHARES = {"label": len(LABELS), "color": 1 + len(COLORS), "material": 1 + len(MATERIALS)}
_CHANNELS = {**SHARES, "depth": 1, "normal": 3}
_OBJECT_WEIGHT = 4.0  # of what shows an object
_DEPTH_WEIGHT = 4.0  # so that its error counts like the others'
_LOOKED_AT = 2  # pixels a side that one reading stands for
_NOISE = 0.1  # the largest standard deviation of what is added, of pictures in [-1, 1]
_WIDTHS, _HEADS, _LAYERS = (48, 96, 160), 5, 4


class Residual(nn.Module):
    """Two 3×3 convolutions beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(8, width),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(8, width),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Of the same shape."""
        added: Tensor = self.layers(x_BCHW)
        return x_BCHW + added


class Reader(nn.Module):
    """Convolutions down to an eighth, a transformer there, convolutions up to half of the picture's size."""

    def __init__(self, image_size: int = IMAGE_SIZE) -> None:
        super().__init__()
        half, quarter, eighth = _WIDTHS
        self.to_half = nn.Sequential(nn.Conv2d(3, half, 4, 2, 1), Residual(half))
        self.to_quarter = nn.Sequential(
            nn.Conv2d(half, quarter, 4, 2, 1), Residual(quarter), Residual(quarter)
        )
        self.to_eighth = nn.Conv2d(quarter, eighth, 2, 2)
        self.position = nn.Parameter(0.02 * torch.randn(1, (image_size // 8) ** 2, eighth))
        layer = nn.TransformerEncoderLayer(
            eighth,
            _HEADS,
            3 * eighth,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.blocks = nn.TransformerEncoder(layer, _LAYERS, enable_nested_tensor=False)
        self.from_eighth = nn.Sequential(
            nn.Conv2d(eighth + quarter, quarter, 1), Residual(quarter), Residual(quarter)
        )
        self.from_quarter = nn.Sequential(nn.Conv2d(quarter + half, 64, 1), Residual(64))
        self.heads = nn.Conv2d(64, sum(_CHANNELS.values()), 1)

    def forward(self, images_B3HW: Tensor) -> dict[str, Tensor]:
        """Pictures in [-1, 1] to logits of the shares, inverse depth and normal, each (B, C, H/2, W/2)."""
        half = self.to_half(images_B3HW)
        quarter = self.to_quarter(half)
        eighth = self.to_eighth(quarter)
        sequence = self.blocks(eighth.flatten(2).transpose(1, 2) + self.position)
        eighth = sequence.transpose(1, 2).unflatten(2, eighth.shape[2:])
        quarter = self.from_eighth(torch.cat([F.interpolate(eighth, scale_factor=2), quarter], 1))
        half = self.from_quarter(torch.cat([F.interpolate(quarter, scale_factor=2), half], 1))
        read = self.heads(F.gelu(half)).split(list(_CHANNELS.values()), 1)
        return dict(zip(_CHANNELS, read, strict=True))


def truth_of(bank: Bank, rows: NDArray[np.int64]) -> dict[str, Tensor]:
    """What there is to read in pictures of the bank: shares of labels, colors and materials, depth, normal."""
    whole = {
        name: F.one_hot(torch.from_numpy(bank.maps[name][rows]).long(), count)
        .permute(0, 3, 1, 2)
        .float()
        for name, count in SHARES.items()
    }
    whole["depth"] = torch.from_numpy(bank.maps["depth"][rows])[:, None] / 255
    whole["normal"] = torch.from_numpy(bank.maps["normal"][rows]).permute(0, 3, 1, 2) / 127.5 - 1
    return {name: F.avg_pool2d(x_BCHW, _LOOKED_AT) for name, x_BCHW in whole.items()}


def of_objects(truth: Mapping[str, Tensor]) -> Tensor:
    """The share of objects at every place read, (B, 1, H/2, W/2): labels after sky and ground."""
    return truth["label"][:, 2:].sum(1, keepdim=True)


class ReaderRecipe:
    """Trains the reader on pictures of the bank, a quarter of them as the codec gives them back."""

    name = "reader"
    muon = True

    def __init__(
        self, train: Bank, validation: Bank, weights_root: Path, *, batch_size: int = 32
    ) -> None:
        self.train, self.validation = train, validation
        self.learning_rate, self.batch_size = 2e-3, batch_size
        config = json.loads((weights_root / "codec" / "config.json").read_text())["vq"]
        self.codec = load_codec(weights_root / "codec" / "codec.safetensors", config)
        self.settings: dict[str, Any] = {"edits": len(train), "noise": _NOISE}

    def build(self) -> nn.Module:
        """A fresh network."""
        return Reader().to(memory_format=torch.channels_last)

    def loss(
        self, module: Reader, clock: Clock, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropies to the shares, absolute error of depth, squared error of the normal; objects weighted."""
        rows = pick(2 * len(self.train), self.batch_size, generator)
        device = next(module.parameters()).device
        images = rgb(self.train, rows).to(device)
        coded = self.batch_size // 4
        images[:coded] = self._coded(images[:coded])
        deviation = _NOISE * torch.rand(len(rows), 1, 1, 1, generator=generator).square()
        noise = deviation * torch.randn(images.shape, generator=generator)
        images = images + noise.to(device)
        parts = _distances(module, images, truth_of(self.train, rows))
        return torch.stack(list(parts.values())).sum(), {
            name: float(part.detach()) for name, part in parts.items()
        }

    def validate(self, module: Reader) -> dict[str, float]:
        """The same losses on pictures of the validation split, and on them as the codec gives them back."""
        rows = 2 * np.arange(min(200, len(self.validation))) + 1
        images = rgb(self.validation, rows).to(next(module.parameters()).device)
        truth = truth_of(self.validation, rows)
        figures: dict[str, float] = {}
        for name, shown in (("validation", images), ("coded", self._coded(images))):
            parts = _distances(module, shown, truth)
            figures |= {f"{name}_{k}": float(v) for k, v in parts.items()}
        return figures

    def _coded(self, images_B3HW: Tensor) -> Tensor:
        self.codec = self.codec.to(images_B3HW.device)
        with torch.no_grad(), torch.autocast(images_B3HW.device.type, enabled=False):
            return self.codec.decode(self.codec.encode(images_B3HW)).clamp(-1, 1)

    def sheet(self, module: nn.Module) -> Picture | None:
        """Nothing to look at."""
        return None

    def load(self, module: nn.Module, folder: Path) -> None:
        """Continue from `export`."""
        module.load_state_dict(torch.load(folder / "reader.pt", weights_only=True))

    def export(self, module: nn.Module, folder: Path) -> None:
        """Into the run's folder, where the rewards read it."""
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(module.state_dict(), folder / "reader.pt")


def load_reader(file: Path) -> Reader:
    """The reader that `train reader` made, frozen.

    Raises:
        UserError: there is none.
    """
    if not file.is_file():
        raise UserError(
            f"rewarded: there is no reader at {file}; `editar-bench train reader` makes it"
        )
    reader = Reader()
    reader.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    reader.to(memory_format=torch.channels_last)
    reader.eval().requires_grad_(False)
    return reader


def _distances(module: Reader, images: Tensor, truth: dict[str, Tensor]) -> dict[str, Tensor]:
    truth = {name: x_BCHW.to(images.device) for name, x_BCHW in truth.items()}
    read = {name: x_BCHW.float() for name, x_BCHW in module(images).items()}
    weight_B1HW = 1 + (_OBJECT_WEIGHT - 1) * of_objects(truth)
    parts = {
        name: (
            weight_B1HW[:, 0] * F.cross_entropy(read[name], truth[name], reduction="none")
        ).mean()
        for name in SHARES
    }
    depth = (read["depth"] - truth["depth"]).abs()
    normal = (read["normal"] - truth["normal"]).square()
    parts["depth"] = _DEPTH_WEIGHT * (weight_B1HW * depth).mean()
    parts["normal"] = (weight_B1HW * normal).mean()
    return parts
