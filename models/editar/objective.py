"""EditAR's training loss (arXiv 2501.04699): cross-entropy of the target codes plus 0.5 times the distillation.

B batch, N codes a picture, T text slots, C width of text features, P patches, W width of the teacher.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.editar.distillation import DISTILLATION_WEIGHT, distillation_loss
from models.editar.transformer import Transformer


def editar_loss(
    transformer: Transformer,
    text_BTC: Tensor,
    condition_BN: Tensor,
    target_BN: Tensor,
    drop_text_B: Tensor,
    drop_image_B: Tensor,
    patches_BPW: Tensor | None = None,
    read_BN: Tensor | None = None,
    valid_B: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, cross-entropy and distillation, scalars; the last is 0 without the teacher's patches.

    Where there are patches, `transformer.alignment` is the convolution that is trained with the transformer. `read_BN`
    are the codes that are read back where they are not the true ones. `valid_B` weights the samples' cross-entropies.
    """
    logits_BNV, hidden_BND = transformer.forward_train(
        text_BTC, condition_BN, target_BN if read_BN is None else read_BN, drop_text_B, drop_image_B
    )
    entropy = _cross_entropy(logits_BNV, target_BN, valid_B)
    if patches_BPW is None:
        return entropy, entropy, torch.zeros_like(entropy)
    distance = distillation_loss(transformer.alignment, hidden_BND, patches_BPW)
    return entropy + DISTILLATION_WEIGHT * distance, entropy, distance


def _cross_entropy(logits_BNV: Tensor, target_BN: Tensor, valid_B: Tensor | None) -> Tensor:
    logits, targets = logits_BNV.flatten(0, 1), target_BN.flatten()
    if valid_B is None:
        return F.cross_entropy(logits, targets)
    weights = valid_B.to(logits.dtype).repeat_interleave(target_BN.shape[1])
    entropies = F.cross_entropy(logits, targets, reduction="none")
    return (entropies * weights).sum() / weights.sum().clamp(min=1)


class Objective(nn.Module):
    """The transformer with its loss as forward pass: what is spread over several devices is one call."""

    def __init__(self, transformer: Transformer) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, *batch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`editar_loss`."""
        return editar_loss(self.transformer, *batch)
