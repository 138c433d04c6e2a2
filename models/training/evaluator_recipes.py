"""Recipes of the three evaluators: they see unseen combinations and degraded pictures, and judge, never teach."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data_prep.scenes.constants import IMAGE_SIZE
from editar_bench.evaluators.clip import SceneCLIP, clip_config
from editar_bench.evaluators.depth import DepthEstimator
from editar_bench.evaluators.segmenter import Segmenter
from editar_bench.evaluators.weights import checked_files, load_state, save_evaluator
from editar_bench.types import Picture
from models.training.augment import degrade
from models.training.bank import Bank
from models.training.data import pick, rgb
from models.training.recipe import Clock

OBJECT_WEIGHT = 4.0  # of pixels of objects, which are few
_VALIDATION_ROWS = np.arange(200)


class _EvaluatorRecipe:
    """What the three have in common: the bank of the evaluators' own stream."""

    name: str
    muon = True

    def __init__(
        self, train: Bank, validation: Bank, *, learning_rate: float = 2e-3, batch_size: int = 8
    ) -> None:
        self.train, self.validation = train, validation
        self.learning_rate, self.batch_size = learning_rate, batch_size
        self.settings: dict[str, Any] = {"edits": len(train), "object_weight": OBJECT_WEIGHT}

    def _rows(self, generator: torch.Generator) -> np.ndarray:
        return pick(2 * len(self.train), self.batch_size, generator)

    def sheet(self, module: nn.Module) -> Picture | None:
        """Nothing to look at."""
        return None

    def load(self, module: nn.Module, folder: Path) -> None:
        """Continue from the shipped weights."""
        module.load_state_dict(load_state(checked_files(self.name, folder)[0]))

    def export(self, module: nn.Module, folder: Path) -> None:
        """Half precision, with checksum."""
        save_evaluator(self.name, module, folder)


class SegmenterRecipe(_EvaluatorRecipe):
    """Class, color and material per pixel."""

    name = "segmenter"

    def build(self) -> nn.Module:
        """A fresh network."""
        return Segmenter()

    def loss(
        self, module: Segmenter, clock: Clock, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy of the three maps, objects weighted."""
        rows = self._rows(generator)
        device = next(module.parameters()).device
        output = module(degrade(rgb(self.train, rows), generator).to(device))
        weight = None
        total = output.label.new_zeros(())
        for name in ("label", "color", "material"):
            truth = torch.from_numpy(self.train.maps[name][rows]).long().to(device)
            if weight is None:
                weight = 1 + (OBJECT_WEIGHT - 1) * (truth >= 2)
            loss = F.cross_entropy(getattr(output, name), truth, reduction="none")
            total = total + (weight * loss).sum() / weight.sum()
        return total, {}

    def validate(self, module: Segmenter) -> dict[str, float]:
        """Pooled mIoU, and share of object pixels with the right color and material."""
        device = next(module.parameters()).device
        output = module(rgb(self.validation, _VALIDATION_ROWS).to(device))
        maps = {
            k: self.validation.maps[k][_VALIDATION_ROWS] for k in ("label", "color", "material")
        }
        guess = {k: getattr(output, k).argmax(1).cpu().numpy() for k in maps}
        inside = maps["label"] >= 2
        ious = []
        for index in range(output.label.shape[1]):
            a, b = guess["label"] == index, maps["label"] == index
            ious.append((a & b).sum() / max(1, (a | b).sum()))
        right = {
            f"{k}_accuracy": float((guess[k] == maps[k])[inside].mean())
            for k in ("color", "material")
        }
        return {"miou": float(np.mean(ious)), **right}


class DepthRecipe(_EvaluatorRecipe):
    """Inverse depth per pixel."""

    name = "depth"

    def build(self) -> nn.Module:
        """A fresh network."""
        return DepthEstimator()

    def loss(
        self, module: DepthEstimator, clock: Clock, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Mean absolute and squared error of inverse depth, objects weighted."""
        rows = self._rows(generator)
        device = next(module.parameters()).device
        guess = module(degrade(rgb(self.train, rows), generator).to(device))
        truth = torch.from_numpy(self.train.maps["depth"][rows]).to(device) / 255
        inside = torch.from_numpy(self.train.maps["label"][rows] >= 2).to(device)
        weight = 1 + (OBJECT_WEIGHT - 1) * inside
        error = guess - truth
        return (weight * (error.abs() + 5 * error.square())).sum() / weight.sum(), {}

    def validate(self, module: DepthEstimator) -> dict[str, float]:
        """Root mean squared error, per picture, then the mean."""
        device = next(module.parameters()).device
        guess = module(rgb(self.validation, _VALIDATION_ROWS).to(device)).cpu()
        truth = torch.from_numpy(self.validation.maps["depth"][_VALIDATION_ROWS]) / 255
        return {"rmse": float((guess - truth).square().mean((1, 2)).sqrt().mean())}


class CLIPRecipe(_EvaluatorRecipe):
    """Contrastive on pictures and captions, as CLIP (arXiv 2103.00020) is trained."""

    name = "clip"

    def __init__(self, train: Bank, validation: Bank, tokenizer: bytes, **settings: Any) -> None:
        super().__init__(
            train, validation, **{"learning_rate": 1.5e-3, "batch_size": 48, **settings}
        )
        self.tokenizer = tokenizer
        self._captions = [c for record in train.texts for c in record["captions"]]
        self._validation_captions = [c for record in validation.texts for c in record["captions"]]

    def build(self) -> nn.Module:
        """A fresh network around the shared SentencePiece model."""
        return SceneCLIP(clip_config(IMAGE_SIZE), self.tokenizer)

    def loss(
        self, module: SceneCLIP, clock: Clock, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Symmetric cross-entropy; half of a batch are both sides of an edit, which teaches what small changes mean."""
        device = module.logit_scale.device
        edits = pick(len(self.train), self.batch_size // 2, generator)
        edits = np.unique(edits)
        rows = np.concatenate([2 * edits, 2 * edits + 1])
        images = module.image_features(degrade(rgb(self.train, rows), generator).to(device))
        texts = module.text_features(module.tokenizer([self._captions[r] for r in rows]).to(device))
        logits = module.logit_scale.clamp_max(100) * images @ texts.T
        index = torch.arange(len(rows), device=device)
        return (F.cross_entropy(logits, index) + F.cross_entropy(logits.T, index)) / 2, {}

    def validate(self, module: SceneCLIP) -> dict[str, float]:
        """Retrieval among 200 pictures, and right choice between the captions before and after an edit."""
        device = module.logit_scale.device
        images = module.image_features(rgb(self.validation, _VALIDATION_ROWS).to(device))
        captions = [self._validation_captions[r] for r in _VALIDATION_ROWS]
        cosines = images @ module.encode_text(captions).T
        index = torch.arange(len(cosines), device=device)
        other = index + 1 - 2 * (index % 2)
        return {
            "recall_at_1": float((cosines.argmax(1) == index).float().mean()),
            "before_after": float((cosines[index, index] > cosines[index, other]).float().mean()),
            "matched_cosine": float(cosines.diagonal().mean()),
        }
