"""The teacher of EditAR's distillation: a small ViT that predicts label, color and surface normal of every patch.

It is trained on the generators' stream and used by nothing but the distillation loss, and is not shipped.
Legend: B pictures, P patches, C width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data_prep.scenes.constants import IMAGE_SIZE
from data_prep.scenes.description import COLORS, LABELS
from editar_bench.types import Picture
from models.training.bank import Bank
from models.training.data import pick, rgb
from models.training.recipe import Clock
from models.training.settings import CODEC

# Two codes a side: what the alignment convolution's stride of two gives.
PATCH = 2 * CODEC.downsampling
WIDTH, LAYERS, HEADS = 128, 4, 4
_COUNTS = {"label": len(LABELS), "color": 1 + len(COLORS)}


class Teacher(nn.Module):
    """Pictures (B, 3, H, W) to patch features (B, P, C), row-major."""

    def __init__(self, image_size: int = IMAGE_SIZE) -> None:
        super().__init__()
        # A small convolutional stem sees more of a patch than one linear map does.
        self.stem = nn.Sequential(
            nn.Conv2d(3, 32, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(64, WIDTH, PATCH // 4, stride=PATCH // 4),
        )
        self.position = nn.Parameter(0.02 * torch.randn(1, (image_size // PATCH) ** 2, WIDTH))
        layer = nn.TransformerEncoderLayer(
            WIDTH,
            HEADS,
            4 * WIDTH,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.blocks = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(WIDTH)
        self.heads = nn.ModuleDict({k: nn.Linear(WIDTH, n) for k, n in _COUNTS.items()})
        self.normal = nn.Linear(WIDTH, 3)

    def forward(self, images: Tensor) -> Tensor:
        """Features after the final norm."""
        x_BPC = self.stem(images).flatten(2).transpose(1, 2) + self.position
        features: Tensor = self.norm(self.blocks(x_BPC))
        return features


class TeacherRecipe:
    """Trains the teacher on what a patch shows."""

    name = "teacher"
    muon = True

    def __init__(self, train: Bank, validation: Bank) -> None:
        self.train, self.validation = train, validation
        self.learning_rate, self.batch_size = 1e-3, 48
        self.settings: dict[str, Any] = {"patch": PATCH, "width": WIDTH, "layers": LAYERS}

    def build(self) -> nn.Module:
        """A fresh network."""
        return Teacher()

    def loss(
        self, module: Teacher, clock: Clock, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy to the shares of labels and colors in a patch, squared error of its mean normal."""
        rows = pick(2 * len(self.train), self.batch_size, generator)
        return self._loss(module, self.train, rows)

    def _loss(
        self, module: Teacher, bank: Bank, rows: np.ndarray
    ) -> tuple[Tensor, dict[str, float]]:
        device = next(module.parameters()).device
        features = module(rgb(bank, rows).to(device))
        normal = torch.from_numpy(bank.maps["normal"][rows]).permute(0, 3, 1, 2).float() / 127.5 - 1
        normal = F.avg_pool2d(normal, PATCH).flatten(2).transpose(1, 2).to(device)
        parts = {"normal": 2 * F.mse_loss(module.normal(features), normal)}
        for name, count in _COUNTS.items():
            one_hot = F.one_hot(torch.from_numpy(bank.maps[name][rows]).long(), count)
            shares = F.avg_pool2d(one_hot.permute(0, 3, 1, 2).float(), PATCH)
            logits = module.heads[name](features)
            parts[name] = F.cross_entropy(
                logits.flatten(0, 1), shares.flatten(2).transpose(1, 2).flatten(0, 1).to(device)
            )
        return torch.stack(list(parts.values())).sum(), {
            k: float(v.detach()) for k, v in parts.items()
        }

    def validate(self, module: Teacher) -> dict[str, float]:
        """The same losses on the validation split."""
        loss, parts = self._loss(module, self.validation, np.arange(200))
        return {"validation": float(loss), **{f"validation_{k}": v for k, v in parts.items()}}

    def sheet(self, module: nn.Module) -> Picture | None:
        """Nothing to look at."""
        return None

    def load(self, module: nn.Module, folder: Path) -> None:
        """Continue from `export`."""
        module.load_state_dict(torch.load(folder / "teacher.pt", weights_only=True))

    def export(self, module: nn.Module, folder: Path) -> None:
        """Into the run's folder: the distillation of the same campaign reads it there."""
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(module.state_dict(), folder / "teacher.pt")
