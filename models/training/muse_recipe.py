"""Recipe of `muse-scenes`: a random part of the target's codes masked, label smoothing as published for MaskGIT."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from models.compact.muse import Muse, MuseSettings, muse_uniforms, random_mask
from models.editar.config import TransformerConfig
from models.training.compact_recipe import CompactRecipe
from models.training.pointing import heads_at_same_place, point
from models.training.token_stream import Target, TokenBatch

LABEL_SMOOTHING = 0.1
_SHEET = MuseSettings(top_k=100)


class MuseRecipe(CompactRecipe[Muse, TransformerConfig]):
    """Trains the compact Muse."""

    name = "muse"
    target: ClassVar[Target] = "rgb"

    def build(self) -> Muse:
        """A fresh network that looks at the condition."""
        model = Muse(self.config)
        point(model, heads_at_same_place(self.config.side))
        return model

    def losses(
        self,
        module: Muse,
        batch: TokenBatch,
        drop_text: Tensor,
        drop_image: Tensor,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Smoothed and plain cross-entropy of the masked codes."""
        masked_BN = random_mask(len(batch), self.config.block_size, generator).to(self.device)
        text = self.stream.text.encode(batch.texts)
        logits_MV = module.forward_train(
            text, batch.condition_BN, batch.target_BM, masked_BN, drop_text, drop_image
        )
        target_M = batch.target_BM[masked_BN]
        entropy = F.cross_entropy(logits_MV, target_M)
        # (1 - s) of the mass on the code, s spread over all codes evenly.
        spread = -logits_MV.log_softmax(-1).mean()
        return entropy.lerp(spread, LABEL_SMOOTHING), entropy

    def generate(self, module: Muse, batch: TokenBatch) -> Tensor:
        """Codes for a sheet."""
        text = self.stream.text.encode(batch.texts)
        uniforms = muse_uniforms(range(len(batch)), self.config.block_size, _SHEET.steps)
        return module.sample(text, batch.condition_BN, _SHEET, uniforms)
