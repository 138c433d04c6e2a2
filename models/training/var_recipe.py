"""Recipe of `var-scenes`: all scales of the target's pyramid at once, each reading the true coarser ones."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from models.compact.var import Var, VarConfig, teacher_inputs
from models.editar.choosing import SamplerSettings, uniforms_for
from models.training.compact_recipe import CompactRecipe
from models.training.pointing import heads_at_same_place, point
from models.training.token_stream import Target, TokenBatch

_SHEET = SamplerSettings(guidance=2.0, top_k=100)


class VarRecipe(CompactRecipe[Var, VarConfig]):
    """Trains the compact VAR."""

    name = "var"
    target: ClassVar[Target] = "pyramid"

    def build(self) -> Var:
        """A fresh network that looks at the condition."""
        model = Var(self.config)
        point(model, heads_at_same_place(self.config.side), [model.levels.weight])
        return model

    def losses(
        self,
        module: Var,
        batch: TokenBatch,
        drop_text: Tensor,
        drop_image: Tensor,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy of the codes of all scales, every code of equal weight; twice the same."""
        text = self.stream.text.encode(batch.texts)
        coarser_BLC = teacher_inputs(self.stream.codec, batch.target_BM.split(self.config.sizes, 1))
        logits_BLV = module.forward_train(
            text, batch.condition_BN, coarser_BLC, drop_text, drop_image
        )
        entropy = F.cross_entropy(logits_BLV.flatten(0, 1), batch.target_BM.flatten())
        return entropy, entropy

    def generate(self, module: Var, batch: TokenBatch) -> Tensor:
        """Codes for a sheet."""
        text = self.stream.text.encode(batch.texts)
        uniforms = uniforms_for(range(len(batch)), sum(self.config.sizes))
        codes = module.sample(self.stream.codec, text, batch.condition_BN, _SHEET, uniforms)
        return torch.cat(codes, 1)
