"""Recipe of `editar-scenes`: the four tasks with the published sampling shares, joint dropout and distillation.

Pictures are coded by the frozen codec the first time a batch needs them and kept; text features are made
anew, which costs next to nothing. Legend: B batch, N codes, T text slots.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from data_prep.scenes.masks import MIN_CHANGED, TOLERANCE
from editar_bench.errors import UserError
from editar_bench.types import Picture, Task
from models.editar.checkpoint import load_codec, load_transformer, save_half
from models.editar.codec import Codec
from models.editar.config import TransformerConfig
from models.editar.distillation import DISTILLATION_WEIGHT, Alignment, distillation_loss
from models.editar.pictures import to_pictures
from models.editar.sampler import SamplerSettings, sample, uniforms_for
from models.editar.templates import prompt_for
from models.editar.text import TextEncoder, load_text_encoder
from models.editar.transformer import Transformer, joint_dropout
from models.training.bank import Bank
from models.training.data import condition, grid, pick, rgb
from models.training.pointing import heads_at_condition, point
from models.training.teacher_recipe import WIDTH as TEACHER_WIDTH
from models.training.teacher_recipe import Teacher
from models.training.trainer import Clock
from models.weights_manifest import partners

SHARES = {Task.EDIT: 0.55, Task.DEPTH: 0.15, Task.EDGE: 0.15, Task.SEGMENTATION: 0.15}  # published
_TASKS = tuple(SHARES)
_SHEET_GUIDANCE = 3.0
_VALIDATION_EDITS = 64


class CodeCache:
    """Codes of a bank's pictures and condition pictures, made when first asked for."""

    def __init__(self, bank: Bank, codec: Codec) -> None:
        self.bank, self.codec = bank, codec
        self._codes: dict[str, Tensor] = {}

    def __call__(self, kind: str, rows: NDArray[np.int64]) -> Tensor:
        """Codes int64 (B, N) of "rgb", "depth", "edge" or "segmentation" pictures."""
        slots = self.codec.config.grid**2
        table = self._codes.setdefault(
            kind, torch.full((2 * len(self.bank), slots), -1, dtype=torch.int16)
        )
        index = torch.from_numpy(rows)
        new = np.unique(rows[(table[index, 0] < 0).numpy()])
        if len(new):
            images = rgb(self.bank, new) if kind == "rgb" else condition(self.bank, kind, new)
            device = next(self.codec.parameters()).device
            # Never in bf16: rounding flips codes, and inference codes in float32.
            with torch.autocast(device.type, enabled=False):
                codes = self.codec.encode(images.to(device))
            table[torch.from_numpy(new)] = codes.cpu().to(torch.int16)
        return table[index].long()


def visible_edits(bank: Bank) -> NDArray[np.int64]:
    """Edits that change enough pixels to be seen: the rule of the test split, for training."""
    keep = []
    for start in range(0, len(bank), 512):
        pair = bank.maps["rgb"][2 * start : 2 * (start + 512)].astype(np.int16)
        changed = (np.abs(pair[0::2] - pair[1::2]) > TOLERANCE).any(-1).sum((1, 2))
        keep.append(start + np.flatnonzero(changed >= MIN_CHANGED))
    return np.concatenate(keep)


class EditARRecipe:
    """Trains the transformer of EditAR on the bank."""

    name = "editar"
    muon = True

    def __init__(
        self,
        config: TransformerConfig,
        train: Bank,
        validation: Bank,
        weights_root: Path,
        teacher_file: Path | None,
        *,
        device: str = "cpu",
        learning_rate: float = 1.5e-3,
        batch_size: int = 8,  # small: at these budgets the number of steps is what counts
    ) -> None:
        self.config, self.train, self.validation = config, train, validation
        self.learning_rate, self.batch_size, self.device = learning_rate, batch_size, device
        self.settings: dict[str, Any] = {
            "transformer": asdict(config),
            "shares": {task.value: share for task, share in SHARES.items()},
            "distillation_weight": DISTILLATION_WEIGHT if teacher_file else 0.0,
        }
        self.codec, self.text = _frozen(weights_root, device, config.cls_token_num)
        self.partners = partners(weights_root)
        self.settings |= self.partners
        self.teacher: Teacher | None = None
        if teacher_file is not None:
            self.teacher = Teacher().to(device).eval()
            if not teacher_file.is_file():
                raise UserError(
                    f"editar: there is no teacher at {teacher_file}; `editar-bench train teacher` makes it"
                )
            self.teacher.load_state_dict(
                torch.load(teacher_file, map_location="cpu", weights_only=True)
            )
        self._train_codes = CodeCache(train, self.codec)
        self._validation_codes = CodeCache(validation, self.codec)
        self._edits = visible_edits(train)
        self._validation_edits = visible_edits(validation)[:_VALIDATION_EDITS]

    def build(self) -> nn.Module:
        """A fresh transformer that looks at the condition, with the alignment convolution if there is a teacher."""
        model = Transformer(self.config)
        point(model, heads_at_condition(self.config.side))
        if self.teacher is not None:
            model.alignment = Alignment(self.config.dim, TEACHER_WIDTH)
        return model

    def loss(
        self, module: Transformer, clock: Clock, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy of the target codes, plus the distillation."""
        counts = np.bincount(
            torch.multinomial(
                torch.tensor(list(SHARES.values())), self.batch_size, True, generator=generator
            ).numpy(),
            minlength=len(_TASKS),
        )
        batches = [
            self._task_batch(task, int(n), generator)
            for task, n in zip(_TASKS, counts, strict=True)
        ]
        texts = [text for batch in batches for text in batch[0]]
        condition_BN, target_BN = (
            torch.cat([b[i] for b in batches]).to(self.device) for i in (1, 2)
        )
        rows = np.concatenate([b[3] for b in batches])
        drop_text, drop_image = (d.to(self.device) for d in joint_dropout(len(texts), generator))
        logits, hidden = module.forward_train(
            self.text.encode(texts), condition_BN, target_BN, drop_text, drop_image
        )
        entropy = F.cross_entropy(logits.flatten(0, 1), target_BN.flatten())
        if self.teacher is None:
            return entropy, {"entropy": float(entropy.detach())}
        with torch.no_grad():
            patches = self.teacher(rgb(self.train, rows).to(self.device))
        distance = distillation_loss(module.alignment, hidden, patches)
        parts = {"entropy": float(entropy.detach()), "distillation": float(distance.detach())}
        return entropy + DISTILLATION_WEIGHT * distance, parts

    def _task_batch(
        self, task: Task, n: int, generator: torch.Generator
    ) -> tuple[list[str], Tensor, Tensor, NDArray[np.int64]]:
        """Prompts, condition codes, target codes and target rows of n random samples of a task."""
        if task is Task.EDIT:
            edits = self._edits[pick(len(self._edits), n, generator)]
            rows = 2 * edits + 1
        else:
            rows = pick(2 * len(self.train), n, generator)
        return (*encode_samples(task, rows, self.train, self._train_codes), rows)

    def validate(self, module: Transformer) -> dict[str, float]:
        """Cross-entropy per task on the validation split."""
        figures = {}
        for task in _TASKS:
            rows = 2 * self._validation_edits + 1
            texts, condition_BN, target_BN = encode_samples(
                task, rows, self.validation, self._validation_codes
            )
            logits = module.training_logits(
                self.text.encode(texts), condition_BN.to(self.device), target_BN.to(self.device)
            )
            entropy = F.cross_entropy(logits.flatten(0, 1), target_BN.flatten().to(self.device))
            figures[f"entropy_{task.value}"] = float(entropy)
        return figures

    def sheet(self, module: Transformer) -> Picture:
        """Per task: conditions, outputs, truths."""
        lines = []
        rows = 2 * self._validation_edits[:8] + 1
        for task in _TASKS:
            texts, condition_BN, target_BN = encode_samples(
                task, rows, self.validation, self._validation_codes
            )
            settings = SamplerSettings(guidance=_SHEET_GUIDANCE, top_k=100)
            codes = sample(
                module,
                self.text.encode(texts),
                condition_BN.to(self.device),
                settings,
                uniforms_for(range(len(rows)), target_BN.shape[1]),
            )
            for shown in (condition_BN, codes, target_BN):
                lines.append(to_pictures(self.codec.decode(shown.to(self.device))))
        return grid(lines)

    def load(self, module: Transformer, folder: Path) -> None:
        """Continue from shipped weights; the alignment starts afresh."""
        config = json.loads((folder / "config.json").read_text())["transformer"]
        shipped = load_transformer(folder / "transformer.safetensors", config)
        fresh = {k: v for k, v in module.state_dict().items() if k.startswith("alignment.")}
        module.load_state_dict(shipped.state_dict() | fresh)

    def export(self, module: Transformer, folder: Path) -> None:
        """Transformer in half precision, without the alignment, beside a config that names codec and text encoder."""
        folder.mkdir(parents=True, exist_ok=True)
        plain = Transformer(self.config)
        plain.load_state_dict(
            {k: v for k, v in module.state_dict().items() if not k.startswith("alignment.")}
        )
        save_half(plain, folder / "transformer.safetensors")
        folders = {"codec": "../codec", "text": "../text"}
        config = {"transformer": asdict(self.config), **folders, **self.partners}
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def encode_samples(
    task: Task, rows: NDArray[np.int64], bank: Bank, codes: CodeCache
) -> tuple[list[str], Tensor, Tensor]:
    """Prompts, condition codes (B, N) and target codes (B, N) of a task with the pictures `rows` as targets."""
    target_BN = codes("rgb", rows)
    if task is Task.EDIT:
        texts = [prompt_for(task, bank.texts[row // 2]["instruction"]) for row in rows]
        return texts, codes("rgb", rows - 1), target_BN
    texts = [prompt_for(task, bank.texts[row // 2]["captions"][row % 2]) for row in rows]
    return texts, codes(task.value, rows), target_BN


def _frozen(root: Path, device: str, slots: int) -> tuple[Codec, TextEncoder]:
    config = json.loads((root / "codec" / "config.json").read_text())["vq"]
    codec = load_codec(root / "codec" / "codec.safetensors", config)
    text = load_text_encoder(root / "text", slots)
    return codec.to(device).requires_grad_(False), text.to(device)
