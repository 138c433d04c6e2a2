"""The three networks that are not trained: codec, text encoder and teacher; each is loaded when first needed.

Legend: B samples, N codes a picture, T text slots, C width of text features, P patches, W width of the teacher.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.editar.checkpoint import load_codec
from models.editar.codec import Codec
from models.editar.pictures import to_tensor
from models.editar.text import TextEncoder, load_text_encoder
from models.training.paper.samples import Sample
from models.training.paper.teacher import Crop, Teacher, load_teacher


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the frozen networks lie: a file and two folders."""

    codec: Path
    codec_config: Mapping[str, Any]
    text: Path
    teacher: Path


@dataclass
class Frozen:
    """What they say of samples. Codec in float32, since rounding flips codes; the others in `dtype`, as published."""

    places: Places
    slots: int
    device: torch.device
    dtype: torch.dtype = torch.bfloat16
    crop: Crop = field(init=False)

    def __post_init__(self) -> None:
        self.crop = Crop.from_folder(self.places.teacher)

    @cached_property
    def codec(self) -> Codec:
        """The codec."""
        codec = load_codec(self.places.codec, self.places.codec_config, self.device)
        codec.requires_grad_(False)
        return codec

    @cached_property
    def text(self) -> TextEncoder:
        """The text encoder."""
        text = load_text_encoder(self.places.text, self.slots, self.dtype)
        text.to(self.device)
        return text

    @cached_property
    def teacher(self) -> Teacher:
        """The teacher."""
        teacher = load_teacher(self.places.teacher, self.dtype)
        teacher.to(self.device)
        return teacher

    def codes(self, samples: Sequence[Sample]) -> Tensor:
        """Condition and target codes, int64 (2, B, N), on the device."""
        known = {i: s.codes for i, s in enumerate(samples) if s.codes is not None}
        new = [i for i in range(len(samples)) if i not in known]
        if new:
            pictures = [p for i in new for p in samples[i].pictures]  # type: ignore[union-attr]
            with torch.autocast(self.device.type, enabled=False):
                codes = self.codec.encode(to_tensor(pictures, self.device))
            known |= dict(zip(new, codes.unflatten(0, (-1, 2)), strict=True))
        rows = [known[i].to(self.device) for i in range(len(samples))]
        return torch.stack(rows, 1)

    def features(self, samples: Sequence[Sample]) -> Tensor:
        """Text features (B, T, C), on the device."""
        known = {i: s.features for i, s in enumerate(samples) if s.features is not None}
        new = [i for i in range(len(samples)) if i not in known]
        if new:
            with torch.autocast(self.device.type, enabled=False):
                encoded = self.text.encode([samples[i].prompt for i in new])
            known |= dict(zip(new, encoded, strict=True))
        return torch.stack([known[i].to(self.device, self.dtype) for i in range(len(samples))])

    def patches(self, samples: Sequence[Sample]) -> Tensor:
        """What the teacher makes of the targets, (B, P, W), on the device."""
        crops = torch.from_numpy(np.stack([s.crop for s in samples])).to(self.device)
        with torch.autocast(self.device.type, enabled=False):
            features: Tensor = self.teacher(crops)
        return features
