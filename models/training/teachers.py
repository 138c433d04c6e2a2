"""Frozen picture encoders that EditAR's hidden states learn to agree with.

The suite's own teacher, and, to show what a leak is worth, the CLIP that also judges.
Legend: B pictures, P patches, C width.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from editar_bench.errors import UserError
from models.training.teacher_recipe import WIDTH, Teacher


class FrozenTeacher(nn.Module):
    """Pictures (B, 3, H, W) in [-1, 1] to patch features (B, P, C), row-major, by a network that does not learn."""

    def __init__(self, name: str, network: nn.Module, width: int) -> None:
        super().__init__()
        self.name, self.width = name, width
        self.network = network.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Features of every patch."""
        features: Tensor = self.network(images)
        return features


class ClipPatches(nn.Module):
    """The patch tokens of an open_clip vision transformer, after its last norm."""

    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        self.visual = visual

    def forward(self, images: Tensor) -> Tensor:
        """Tokens without the class token, (B, P, C)."""
        found = self.visual.forward_intermediates(
            images,
            indices=1,
            normalize_intermediates=True,
            intermediates_only=True,
            output_fmt="NLC",
        )
        tokens: Tensor = found["image_intermediates"][-1]
        return tokens


def own_teacher(file: Path) -> FrozenTeacher:
    """The teacher that `train teacher` made.

    Raises:
        UserError: there is none.
    """
    if not file.is_file():
        raise UserError(
            f"editar: there is no teacher at {file}; `editar-bench train teacher` makes it"
        )
    teacher = Teacher()
    teacher.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return FrozenTeacher("own", teacher, WIDTH)


def judging_clip() -> FrozenTeacher:
    """The vision tower of the CLIP that scores what EditAR makes: a leak, for the ablation that shows its worth.

    Raises:
        UserError: its weights are missing or damaged.
    """
    from editar_bench.evaluators.pretrained import load_clip

    clip = load_clip()
    width = clip.config["vision_cfg"]["width"]
    return FrozenTeacher("judging CLIP", ClipPatches(clip.clip.visual), width)
