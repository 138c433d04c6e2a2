"""Mask2Former with Swin-L (Cheng et al. 2022) on ADE20K, as mmsegmentation publishes it.

Weights: its file `mask2former_swin-l-in22k-384x384-pre_8xb2-160k_ade20k-640x640_20221203_235933-7120c214.pth`. The
network is transformers' Mask2Former, which is the same; only tensors have other names, and Swin's merging of patches
other orders. `facebook/mask2former-swin-large-ade-semantic` is another training and another evaluator.
Legend: B pictures, Q queries, K classes, H × W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editar_bench.errors import UserError
from editar_bench.evaluators.checkpoints import read_checkpoint
from editar_bench.evaluators.deeplab import normalized
from editar_bench.evaluators.mask2former_names import converted
from editar_bench.evaluators.opencv_resize import short_side
from editar_bench.evaluators.sources import SOURCES, local_copy, missing
from editar_bench.types import Picture

CLASSES = 150
SWIN_L = {
    "image_size": 384,
    "embed_dim": 192,
    "depths": [2, 2, 18, 2],
    "num_heads": [6, 12, 24, 48],
    "window_size": 12,
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}


class Mask2Former(nn.Module):
    """Pictures to classes.

    Args:
        model: a transformers `Mask2FormerForUniversalSegmentation`.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    @classmethod
    def load(cls, role: str) -> Self:
        """From the published file."""
        from transformers import Mask2FormerConfig, SwinConfig

        path = local_copy(SOURCES[role])
        if path is None:
            raise missing(role)
        config = Mask2FormerConfig(backbone_config=SwinConfig(**SWIN_L), num_labels=CLASSES)
        try:
            return cls(filled(config, read_checkpoint(path)))
        except (RuntimeError, ValueError, KeyError) as error:
            raise UserError(
                f"The weights {path} belong to another network; fetch the published file."
            ) from error

    def classes(self, pictures: Sequence[Picture], side: int) -> Tensor:
        """uint8 pictures of one size, shown with a short side of `side`, to every pixel's class (B, H, W)."""
        device = next(self.parameters()).device
        logits = self.logits(normalized([short_side(p, side) for p in pictures], device))
        size = pictures[0].shape[:2]
        if logits.shape[-2:] != size:
            logits = F.interpolate(logits, size, mode="bilinear", align_corners=False)
        return logits.argmax(1)

    def logits(self, images_B3HW: Tensor) -> Tensor:
        """Normalized pictures to how much each class is there, (B, K, H, W)."""
        out = self.model(pixel_values=images_B3HW)
        masks_BQHW = F.interpolate(
            out.masks_queries_logits, images_B3HW.shape[-2:], mode="bilinear", align_corners=False
        )
        scores_BQK = out.class_queries_logits.softmax(-1)[..., :-1]  # the last class is "nothing"
        return torch.einsum("bqk,bqhw->bkhw", scores_BQK, masks_BQHW.sigmoid())


def filled(config: Any, state: dict[str, Tensor]) -> nn.Module:
    """A transformers model with mmsegmentation's tensors; all of them must fit.

    Raises:
        ValueError: tensors are missing or left over.
    """
    from transformers import Mask2FormerForUniversalSegmentation

    named = converted(state)
    # transformers knows its hub's names in every version, its own names only in one.
    model, report = Mask2FormerForUniversalSegmentation.from_pretrained(
        None, config=config, state_dict=named, output_loading_info=True
    )
    wrong = [*report["missing_keys"], *report["unexpected_keys"], *report["mismatched_keys"]]
    wrong = [name for name in wrong if not _computed(str(name))]
    if wrong:
        raise ValueError(f"tensors that do not fit: {wrong[:3]}")
    return model


def _computed(name: str) -> bool:
    """Tensors that no checkpoint needs to hold, and the norm after the last stage, which is not used."""
    return any(
        word in name
        for word in (
            "relative_position_index",
            "criterion.",
            "swin.layernorm",
            "encoder.layernorm.",
        )
    )
