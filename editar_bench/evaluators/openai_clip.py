"""OpenAI's CLIP (Radford et al. 2021) through transformers, with the preprocessing of its release.

Legend: B pictures or texts, T text slots, D embedding.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any, Self

from torch import Tensor, nn
from torchvision.transforms.functional import normalize

from editar_bench.errors import UserError
from editar_bench.evaluators.pictures import as_unit
from editar_bench.evaluators.pil_resize import short_side_crop
from editar_bench.evaluators.sources import SOURCES, local_copy, missing
from editar_bench.types import Picture

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_BY_TORCHMETRICS = ("clip-L14", "clip-B16")  # roles; the others' scores are by OpenAI's own code


class OpenaiClip(nn.Module):
    """Pictures and captions in one space; embeddings are unit vectors.

    Args:
        model: a transformers `CLIPModel`.
        tokenizer: its tokenizer.
        floor: crop, clean and cut texts as torchmetrics does with transformers, not as OpenAI's own code.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, *, floor: bool = False) -> None:
        super().__init__()
        self.model, self.floor = model, floor
        self.tokenizer = tokenizer

    @classmethod
    def load(cls, role: str) -> Self:
        """From the published weights of a role: a local folder, the hub's cache, or the hub."""
        from transformers import CLIPModel, CLIPTokenizerFast

        place = str(local_copy(SOURCES[role]) or SOURCES[role].hub)
        try:
            model = CLIPModel.from_pretrained(place).float()
            tokenizer = CLIPTokenizerFast.from_pretrained(place)
        except OSError as error:
            raise missing(role) from error
        except (RuntimeError, ValueError) as error:
            raise UserError(f"The CLIP at {place} cannot be loaded: {error}.") from error
        return cls(model, tokenizer, floor=role in _BY_TORCHMETRICS)

    def embed_pictures(self, pictures: Sequence[Picture]) -> Tensor:
        """uint8 pictures of any sizes to (B, D): PIL's bicubic, center crop, mean and deviation."""
        model = self.model
        size = model.config.vision_config.image_size
        cropped = [short_side_crop(picture, size, size, floor=self.floor) for picture in pictures]
        pixels = normalize(as_unit(cropped, model.device), list(MEAN), list(STD))
        features_BD = model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)
        return _unit(features_BD)

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Captions to (B, D). What lies behind the last slot is cut off: by torchmetrics end token and all.

        OpenAI's own code keeps the end token, whose features are the caption's, and mends broken letters before.
        """
        model = self.model
        slots = model.config.text_config.max_position_embeddings
        read = list(texts) if self.floor else [cleaned(text) for text in texts]
        tokens = self.tokenizer(read, padding=True, return_tensors="pt", verbose=False)
        ids_BT = tokens["input_ids"][:, :slots].to(model.device)
        mask_BT = tokens["attention_mask"][:, :slots].to(model.device)
        if not self.floor:
            cut_B = tokens["attention_mask"][:, slots:].any(1).to(model.device)
            ids_BT[cut_B, -1] = self.tokenizer.eos_token_id
        out = model.text_model(input_ids=ids_BT, attention_mask=mask_BT)
        return _unit(model.text_projection(out.pooler_output))


def cleaned(text: str) -> str:
    """A caption as OpenAI's tokenizer reads it: letters that were decoded wrongly, and HTML's twice over, mended."""
    import ftfy

    return html.unescape(html.unescape(ftfy.fix_text(text)))


def _unit(features_BD: Tensor) -> Tensor:
    return features_BD / features_BD.norm(dim=-1, keepdim=True)
