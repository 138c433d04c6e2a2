"""EditAR whole: pictures and prompts in, pictures out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from editar_bench.errors import UserError
from editar_bench.types import Picture
from models.editar import released
from models.editar.checkpoint import load_codec, load_transformer
from models.editar.codec import Codec
from models.editar.pictures import to_pictures, to_tensor
from models.editar.precision import Precision
from models.editar.sampler import SamplerSettings, sample, uniforms_for
from models.editar.text import TextEncoder, load_text_encoder
from models.editar.transformer import Transformer

# What the codec handles at once: its feature maps would take more memory than the transformer's cache.
CODEC_PIXELS = 2**20


@dataclass(slots=True)
class EditAR:
    """Codec, text encoder and transformer that belong together, on one device."""

    codec: Codec
    text: TextEncoder
    transformer: Transformer
    device: torch.device

    @classmethod
    def from_folder(
        cls,
        folder: Path | str,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> EditAR:
        """Load from a folder with config.json and transformer.safetensors.

        The codec (codec.safetensors and the `vq` object of config.json) lies in the same folder and
        the text encoder in `text/`, unless config.json names sibling folders under `codec` and
        `text`, such as "../codec". `dtype` is for transformer and text encoder; the codec stays in
        float32, because rounding flips codes.
        """
        folder = Path(folder)
        config = read_config(folder)
        codec_folder = sibling(folder, config.get("codec", "."))
        text_folder = sibling(folder, config.get("text", "text"))
        transformer = load_transformer(
            folder / "transformer.safetensors", section(config, "transformer", folder)
        )
        vq = section(read_config(codec_folder), "vq", codec_folder)
        codec = load_codec(codec_folder / "codec.safetensors", vq)
        text = load_text_encoder(text_folder, transformer.config.cls_token_num)
        return cls(
            codec=codec.to(device),
            text=text.to(device, dtype),
            transformer=transformer.to(device, dtype),
            device=torch.device(device),
        )

    @classmethod
    def from_released(
        cls,
        transformer: Path,
        codec: Path,
        text: Path,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> EditAR:
        """Load the published files, or what `models.editar.released` made of them."""
        loaded = load_transformer(transformer, released.TRANSFORMER.config, device, dtype)
        return cls(
            codec=load_codec(codec, released.CODEC.config, device),
            text=load_text_encoder(text, loaded.config.cls_token_num, dtype).to(device),
            transformer=loaded,
            device=torch.device(device),
        )

    @torch.no_grad()
    def edit(
        self,
        conditions: Sequence[Picture],
        prompts: Sequence[str],
        seeds: Sequence[int],
        guidance: float = 3.0,
        temperature: float = 1.0,
        top_k: int = 1000,
        top_p: float = 1.0,
        precision: Precision | None = None,
        truncate: bool = False,
        cfg_interval: int = -1,
    ) -> list[Picture]:
        """Make one picture for each condition picture, prompt (template included) and seed.

        With `truncate`, levels between two whole ones become the lower instead of the nearer. All
        steps are guided, or with a `cfg_interval` of at least 0 those up to it.
        """
        side = self.codec.config.image_size
        for picture in conditions:
            if picture.shape != (side, side, 3):
                raise UserError(
                    f"EditAR: a condition picture has shape {picture.shape}, but these weights "
                    f"need {side}x{side} RGB; resize it"
                )
        settings = SamplerSettings(
            guidance=guidance,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            cfg_interval=cfg_interval,
        )
        pieces = max(1, CODEC_PIXELS // side**2)
        condition_codes = torch.cat(
            [
                self.codec.encode(to_tensor(conditions[i : i + pieces], self.device))
                for i in range(0, len(conditions), pieces)
            ]
        )
        uniforms = uniforms_for(seeds, condition_codes.shape[1])
        features = self.text.encode(prompts, self.device)
        codes = sample(self.transformer, features, condition_codes, settings, uniforms, precision)
        parts = [
            to_pictures(self.codec.decode(part), truncate=truncate) for part in codes.split(pieces)
        ]
        return [picture for part in parts for picture in part]


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json of a weights folder."""
    path = folder / "config.json"
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError:
        raise UserError(f"weights: there is no {path}; train the model or fetch it") from None
    except (ValueError, TypeError) as error:
        raise UserError(f"weights: {path} is no JSON object ({error}); fetch it again") from error


def section(config: Mapping[str, Any], name: str, folder: Path) -> Mapping[str, Any]:
    """One object of a config.json."""
    found = config.get(name)
    if not isinstance(found, Mapping):
        raise UserError(f"weights: {folder / 'config.json'} has no object '{name}'; add it")
    return found


def sibling(folder: Path, relative: str) -> Path:
    """A folder named by a config.json: inside the model's folder or beside it, nowhere else."""
    root = folder.resolve().parent
    target = (folder.resolve() / relative).resolve()
    if not target.is_relative_to(root):
        raise UserError(
            f"weights: {folder / 'config.json'} names '{relative}', which lies outside {root}; "
            "name a folder beside the model's own"
        )
    return target
