"""The CLIP of the scenes suite: an open_clip model from a configuration of our own.

Legend: B pictures or texts, T text slots, D embedding.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editar_bench.evaluators.pictures import as_batch
from editar_bench.evaluators.tokenizer import SceneTokenizer
from editar_bench.types import Picture

CONFIG_PATH = Path(__file__).with_name("clip_config.json")


def clip_config(image_size: int, path: Path = CONFIG_PATH) -> dict[str, Any]:
    """The open_clip model configuration for pictures of `image_size` pixels a side."""
    config: dict[str, Any] = json.loads(path.read_text())
    config["vision_cfg"]["image_size"] = image_size
    return config


class SceneCLIP(nn.Module):
    """Pictures and captions in one space.

    Training calls `image_features`, `text_features` and `logit_scale`; metrics call
    `encode_image` and `encode_text`. The tokenizer travels with the weights.
    """

    def __init__(self, config: Mapping[str, Any], tokenizer: SceneTokenizer | bytes) -> None:
        from open_clip.model import CLIP

        super().__init__()
        self.config = {key: config[key] for key in ("embed_dim", "vision_cfg", "text_cfg")}
        self.clip = CLIP(**self.config)
        self.image_size = int(config["vision_cfg"]["image_size"])
        slots = int(config["text_cfg"]["context_length"])
        if isinstance(tokenizer, bytes):
            tokenizer = SceneTokenizer(tokenizer, slots)
        if tokenizer.vocab_size > config["text_cfg"]["vocab_size"]:
            raise ValueError(
                f"the tokenizer has {tokenizer.vocab_size} pieces, the CLIP configuration "
                f"{config['text_cfg']['vocab_size']}"
            )
        self.tokenizer = tokenizer

    @property
    def logit_scale(self) -> Tensor:
        """The learned factor on cosines, a scalar."""
        scale: Tensor = self.clip.logit_scale
        return scale.exp()

    def image_features(self, images_B3HW: Tensor) -> Tensor:
        """Float pictures in [-1, 1], of any size, to unit vectors (B, D)."""
        if images_B3HW.shape[-2:] != (self.image_size, self.image_size):
            images_B3HW = F.interpolate(
                images_B3HW, (self.image_size,) * 2, mode="bicubic", antialias=True
            ).clamp(-1, 1)
        features: Tensor = self.clip.encode_image(images_B3HW, normalize=True)
        return features

    def text_features(self, ids_BT: Tensor) -> Tensor:
        """Token ids (B, T) to unit vectors (B, D)."""
        features: Tensor = self.clip.encode_text(ids_BT, normalize=True)
        return features

    def encode_image(self, pictures: Sequence[Picture]) -> Tensor:
        """uint8 pictures to unit vectors (B, D)."""
        with torch.no_grad():
            return self.image_features(as_batch(pictures, self.clip.logit_scale.device))

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Captions to unit vectors (B, D)."""
        with torch.no_grad():
            return self.text_features(self.tokenizer(texts).to(self.clip.logit_scale.device))
