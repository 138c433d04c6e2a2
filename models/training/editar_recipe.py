"""Recipe of `editar-scenes`: the four tasks with the published sampling shares, joint dropout and distillation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editar_bench.types import Picture, Task
from models.editar.checkpoint import load_transformer, save_half
from models.editar.config import TransformerConfig
from models.editar.distillation import DISTILLATION_WEIGHT, Alignment
from models.editar.objective import editar_loss
from models.editar.sampler import sample, uniforms_for
from models.editar.transformer import Transformer, joint_dropout
from models.training.bank import Bank
from models.training.data import rgb
from models.training.misreading import HIDDEN, MISREAD, OWN, hidden_behind, misread, own_draws
from models.training.pointing import heads_at_condition, point
from models.training.recipe import Clock
from models.training.teachers import FrozenTeacher
from models.training.token_stream import SHARES, SHEET, TokenBatch, TokenStream


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
        teacher: FrozenTeacher | None,
        *,
        shares: Mapping[Task, float] = SHARES,
        device: str = "cpu",
        learning_rate: float = 1.5e-3,
        batch_size: int = 8,  # small: at these budgets the number of steps is what counts
    ) -> None:
        self.config = config
        self.learning_rate, self.batch_size, self.device = learning_rate, batch_size, device
        self.stream = TokenStream(
            train, validation, weights_root, config.cls_token_num, shares=shares, device=device
        )
        self.settings: dict[str, Any] = {
            "transformer": asdict(config),
            "shares": {task.value: share for task, share in shares.items()},
            "misread": MISREAD,
            "distillation_weight": DISTILLATION_WEIGHT if teacher else 0.0,
            "teacher": teacher.name if teacher else "",
            **self.stream.partners,
        }
        self.teacher = teacher.to(device) if teacher else None
        self.reads_own = False

    def build(self) -> nn.Module:
        """A fresh transformer that looks at the condition, with the alignment convolution if there is a teacher."""
        model = Transformer(self.config)
        point(model, heads_at_condition(self.config.side))
        if self.teacher is not None:
            model.alignment = Alignment(self.config.dim, self.teacher.width)
        return model

    def loss(
        self, module: Transformer, clock: Clock, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy of the target codes, plus the distillation."""
        return self.imitation(module, self.stream.batch(self.batch_size, generator), generator)

    def imitation(
        self, module: Transformer, batch: TokenBatch, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """The loss of given samples."""
        drop_text, drop_image = (d.to(self.device) for d in joint_dropout(len(batch), generator))
        patches = None
        if self.teacher is not None:
            with torch.no_grad():
                patches = self.teacher(rgb(self.stream.train, batch.rows).to(self.device))
        text = self.stream.text.encode(batch.texts)
        read_BM = misread(batch.target_BM, self.config.vocab_size, generator)
        if self.reads_own:
            with torch.no_grad():
                logits_BMV, _ = module.forward_train(
                    text, batch.condition_BN, read_BM, drop_text, drop_image
                )
            read_BM = own_draws(read_BM, logits_BMV, generator)
            read_BM = hidden_behind(read_BM, batch.condition_BN, batch.edit_B, generator)
        loss, entropy, distance = editar_loss(
            module,
            text,
            batch.condition_BN,
            batch.target_BM,
            drop_text,
            drop_image,
            patches,
            read_BM,
        )
        parts = {"entropy": float(entropy.detach())}
        if patches is not None:
            parts["distillation"] = float(distance.detach())
        return loss, parts

    def validate(self, module: Transformer) -> dict[str, float]:
        """Cross-entropy per task on the validation split."""

        def entropy(batch: TokenBatch) -> Tensor:
            features = self.stream.text.encode(batch.texts)
            logits = module.training_logits(features, batch.condition_BN, batch.target_BM)
            return F.cross_entropy(logits.flatten(0, 1), batch.target_BM.flatten())

        return self.stream.entropies(entropy)

    def sheet(self, module: Transformer) -> Picture:
        """Per task: conditions, outputs, truths."""

        def generate(batch: TokenBatch) -> Tensor:
            features = self.stream.text.encode(batch.texts)
            uniforms = uniforms_for(range(len(batch)), batch.target_BM.shape[1])
            return sample(module, features, batch.condition_BN, SHEET, uniforms)

        return self.stream.sheet(generate)

    def load(self, module: Transformer, folder: Path) -> None:
        """Continue from shipped weights: own draws and hidden codes are read too; an alignment starts afresh."""
        self.reads_own = True
        self.settings |= {"own_draws": OWN, "hidden": HIDDEN}
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
        self.stream.write_config(folder, self.config)
