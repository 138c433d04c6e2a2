"""Recipe of `parti-scenes`: next-code cross-entropy with conditions dropped as EditAR's are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from models.compact.parti import Parti, PartiConfig
from models.editar.choosing import uniforms_for
from models.training.compact_recipe import CompactRecipe
from models.training.misreading import MISREAD, misread
from models.training.pointing import POINTED_ACROSS, point_across
from models.training.token_stream import SHEET, Target, TokenBatch


class PartiRecipe(CompactRecipe[Parti, PartiConfig]):
    """Trains the compact Parti."""

    name = "parti"
    target: ClassVar[Target] = "rgb"
    choices: ClassVar[Mapping[str, Any]] = {"misread": MISREAD}

    def build(self) -> Parti:
        """A fresh network that looks at the condition."""
        model = Parti(self.config)
        point_across(model, POINTED_ACROSS)
        return model

    def losses(
        self,
        module: Parti,
        batch: TokenBatch,
        drop_text: Tensor,
        drop_image: Tensor,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """The cross-entropy, which is all that is trained on."""
        text = self.stream.text.encode(batch.texts)
        read_BN = batch.target_BM
        if module.training:  # as a dropout does
            read_BN = misread(read_BN, self.config.vocab_size, generator)
        logits_BNV = module.forward_train(text, batch.condition_BN, read_BN, drop_text, drop_image)
        entropy = F.cross_entropy(logits_BNV.flatten(0, 1), batch.target_BM.flatten())
        return entropy, entropy

    def generate(self, module: Parti, batch: TokenBatch) -> Tensor:
        """Codes for a sheet."""
        text = self.stream.text.encode(batch.texts)
        uniforms_BN = uniforms_for(range(len(batch)), batch.target_BM.shape[1])
        return module.sample(text, batch.condition_BN, SHEET, uniforms_BN)
