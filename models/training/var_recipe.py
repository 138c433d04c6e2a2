"""Recipe of `var-scenes`: all scales of the target's pyramid at once, each reading the true coarser ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from models.compact.var import Var, VarConfig, teacher_readings
from models.editar.choosing import SamplerSettings, uniforms_for
from models.training.compact_recipe import CompactRecipe
from models.training.pointing import heads_at_same_place, point
from models.training.token_stream import Target, TokenBatch

_SHEET = SamplerSettings(guidance=2.0, top_k=100)


class VarRecipe(CompactRecipe[Var, VarConfig]):
    """Trains the compact VAR."""

    name = "var"
    target: ClassVar[Target] = "pyramid"
    choices: ClassVar[Mapping[str, Any]] = {"loss": "every scale alike"}

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
        """Cross-entropy of the codes, the mean of the scales' means; and the plain mean of all codes.

        Published is the latter, in which the coarsest code, which colors the whole picture, weighs next to nothing.
        """
        text = self.stream.text.encode(batch.texts)
        codec, sizes = self.stream.codec, self.config.sizes
        readings = teacher_readings(codec, batch.target_BM.split(sizes, 1), batch.condition_BN)
        logits_BLV = module.forward_train(text, batch.condition_BN, readings, drop_text, drop_image)
        entropy_BL = F.cross_entropy(logits_BLV.mT, batch.target_BM, reduction="none")
        scales_K = torch.stack([entropy_BP.mean() for entropy_BP in entropy_BL.split(sizes, 1)])
        return scales_K.mean(), entropy_BL.mean()

    def generate(self, module: Var, batch: TokenBatch) -> Tensor:
        """Codes for a sheet."""
        text = self.stream.text.encode(batch.texts)
        uniforms = uniforms_for(range(len(batch)), sum(self.config.sizes))
        codes = module.sample(self.stream.codec, text, batch.condition_BN, _SHEET, uniforms)
        return torch.cat(codes, 1)
