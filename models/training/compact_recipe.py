"""What the recipes of Parti, Muse and VAR share: stream, start at the condition, validation, sheets and files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from editar_bench.types import Picture
from models.editar.checkpoint import load_rotary, save_half
from models.editar.config import TransformerConfig
from models.editar.transformer import RotaryNetwork, joint_dropout
from models.training.bank import Bank
from models.training.recipe import Clock
from models.training.token_stream import SHARES, Target, TokenBatch, TokenStream

_Network = TypeVar("_Network", bound=RotaryNetwork)
_Config = TypeVar("_Config", bound=TransformerConfig)


class CompactRecipe(Generic[_Network, _Config]):
    """Trains a generator of codes on the bank; subclasses say what it is and what it must predict."""

    name: str
    target: ClassVar[Target]
    choices: ClassVar[Mapping[str, Any]] = {}  # settings that a subclass has beside the common ones
    muon = True

    def __init__(
        self,
        config: _Config,
        train: Bank,
        validation: Bank,
        weights_root: Path,
        *,
        device: str = "cpu",
        learning_rate: float = 1.5e-3,
        batch_size: int = 8,
    ) -> None:
        self.config = config
        self.learning_rate, self.batch_size, self.device = learning_rate, batch_size, device
        self.stream = TokenStream(
            train,
            validation,
            weights_root,
            config.cls_token_num,
            target=self.target,
            device=device,
        )
        self.settings: dict[str, Any] = {
            "transformer": asdict(config),
            "shares": {task.value: share for task, share in SHARES.items()},
            **self.choices,
            **self.stream.partners,
        }

    def build(self) -> _Network:
        """A fresh network that looks at the condition."""
        raise NotImplementedError

    def loss(
        self, module: _Network, clock: Clock, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy of the target codes, conditions dropped jointly."""
        batch = self.stream.batch(self.batch_size, generator)
        drop_text, drop_image = (d.to(self.device) for d in joint_dropout(len(batch), generator))
        loss, entropy = self.losses(module, batch, drop_text, drop_image, generator)
        return loss, {"entropy": float(entropy.detach())}

    def validate(self, module: _Network) -> dict[str, float]:
        """Cross-entropy per task on the validation split."""

        def entropy(batch: TokenBatch) -> Tensor:
            keep_B = torch.zeros(len(batch), dtype=torch.bool, device=self.device)
            generator = torch.Generator().manual_seed(0)
            return self.losses(module, batch, keep_B, keep_B, generator)[1]

        return self.stream.entropies(entropy)

    def sheet(self, module: _Network) -> Picture:
        """Per task: conditions, outputs, truths."""
        return self.stream.sheet(lambda batch: self.generate(module, batch))

    def load(self, module: _Network, folder: Path) -> None:
        """Continue from shipped weights."""
        shipped = load_rotary(self.build, folder / "transformer.safetensors")
        module.load_state_dict(shipped.state_dict())

    def export(self, module: _Network, folder: Path) -> None:
        """Network in half precision beside a config that names codec and text encoder."""
        save_half(module, folder / "transformer.safetensors")
        self.stream.write_config(folder, self.config)

    def losses(
        self,
        module: _Network,
        batch: TokenBatch,
        drop_text: Tensor,
        drop_image: Tensor,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """What is trained on, and the plain cross-entropy of the codes that were asked for."""
        raise NotImplementedError

    def generate(self, module: _Network, batch: TokenBatch) -> Tensor:
        """Target codes int64 (B, M) for a sheet."""
        raise NotImplementedError
