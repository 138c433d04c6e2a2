"""Recipe of `llamagen-scenes`: pictures from captions alone, the target pictures of the common stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editar_bench.types import Picture, Task
from models.compact.llamagen import LlamaGen, encode_captions
from models.editar.checkpoint import load_rotary, save_half
from models.editar.choosing import uniforms_for
from models.editar.config import TransformerConfig
from models.editar.pictures import to_pictures
from models.training.bank import Bank
from models.training.data import captions, grid
from models.training.misreading import MISREAD, misread
from models.training.recipe import Clock
from models.training.token_stream import SHEET, TokenBatch, TokenStream

TEXT_DROPOUT = 0.1  # as published
_SHOWN = 8


class LlamaGenRecipe:
    """Trains LlamaGen on the bank's captions and pictures."""

    name = "llamagen"
    muon = True

    def __init__(
        self,
        config: TransformerConfig,
        train: Bank,
        validation: Bank,
        weights_root: Path,
        *,
        device: str = "cpu",
        learning_rate: float = 1.5e-3,
        batch_size: int = 8,
    ) -> None:
        self.config, self.validation = config, validation
        self.learning_rate, self.batch_size, self.device = learning_rate, batch_size, device
        self.stream = TokenStream(
            train, validation, weights_root, config.cls_token_num, device=device
        )
        self.settings: dict[str, Any] = {
            "transformer": asdict(config),
            "text_dropout": TEXT_DROPOUT,
            "misread": MISREAD,
            **self.stream.partners,
        }

    def build(self) -> nn.Module:
        """A fresh transformer."""
        return LlamaGen(self.config)

    def loss(
        self, module: LlamaGen, clock: Clock, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy of the pictures' codes."""
        batch = self.stream.batch(self.batch_size, generator)
        drop_B = torch.rand(len(batch), generator=generator) < TEXT_DROPOUT
        read_BN = misread(batch.target_BM, self.config.vocab_size, generator)
        entropy = self._entropy(module, batch, self.stream.train, drop_B.to(self.device), read_BN)
        return entropy, {"entropy": float(entropy.detach())}

    def validate(self, module: LlamaGen) -> dict[str, float]:
        """Cross-entropy on the validation split, with the captions and without any."""
        batch = self._shown()
        keep_B = torch.zeros(len(batch), dtype=torch.bool, device=self.device)
        figures = {"entropy_caption": self._entropy(module, batch, self.validation, keep_B)}
        figures["entropy_null"] = self._entropy(module, batch, self.validation, ~keep_B)
        return {name: float(value) for name, value in figures.items()}

    def sheet(self, module: LlamaGen) -> Picture:
        """A line of what captions give, and one of the pictures they were written for."""
        batch = self._shown()
        text, mask_BT = self._encode(captions(self.validation, batch.rows)[:_SHOWN])
        uniforms_BN = uniforms_for(range(_SHOWN), batch.target_BM.shape[1])
        made_BN = module.sample(text, mask_BT, SHEET, uniforms_BN[: len(text)])
        lines = (made_BN, batch.target_BM[:_SHOWN])
        return grid([to_pictures(self.stream.codec.decode(codes_BN)) for codes_BN in lines])

    def load(self, module: LlamaGen, folder: Path) -> None:
        """Continue from shipped weights."""
        shipped = load_rotary(lambda: LlamaGen(self.config), folder / "transformer.safetensors")
        module.load_state_dict(shipped.state_dict())

    def export(self, module: LlamaGen, folder: Path) -> None:
        """Transformer in half precision beside a config that names codec and text encoder."""
        save_half(module, folder / "transformer.safetensors")
        self.stream.write_config(folder, self.config)

    def _shown(self) -> TokenBatch:
        return self.stream.validation(Task.EDIT)  # the target pictures are those of every task

    def _encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        return encode_captions(self.stream.text, texts)

    def _entropy(
        self,
        module: LlamaGen,
        batch: TokenBatch,
        bank: Bank,
        drop_B: Tensor,
        read_BN: Tensor | None = None,
    ) -> Tensor:
        text, mask_BT = self._encode(captions(bank, batch.rows))
        read_BN = batch.target_BM if read_BN is None else read_BN
        logits_BNV = module.forward_train(text, mask_BT, read_BN, drop_B)
        return F.cross_entropy(logits_BNV.flatten(0, 1), batch.target_BM.flatten())
