"""How much memory the published LlamaGen takes, so that a batch can be fitted; see `models.editar.footprint`."""

from __future__ import annotations

import torch

from editar_bench.contracts import Footprint
from models.compact.llamagen import LlamaGen
from models.compact.released import CODECS, STAGES
from models.editar.codec import Codec, CodecConfig
from models.editar.config import TransformerConfig
from models.editar.footprint import LARGEST, MAPS, TEXT_PARAMETERS

_FLOAT = 4
_HALVES = 2  # of guidance: with the caption and without


def llamagen_footprint(stage: int, device: str) -> Footprint:
    """Of a stage with its defaults, in float32 on a CPU and bfloat16 on a GPU; the codec is float32 everywhere."""
    kind = device.partition(":")[0]
    size = _FLOAT if kind == "cpu" else 2
    config = TransformerConfig.from_dict(STAGES[stage].config)
    codec = CodecConfig.from_dict(CODECS[stage].config)
    with torch.device("meta"):
        transformer = sum(p.numel() for p in LlamaGen(config).parameters())
        codec_weights = sum(p.numel() for p in Codec(codec).parameters())
    keys_and_values = 2 * config.n_layer * config.dim * (config.cls_token_num + config.block_size)
    return Footprint(
        loaded=(transformer + TEXT_PARAMETERS) * size + codec_weights * _FLOAT,
        picture=_HALVES * keys_and_values * size + MAPS * codec.ch * codec.image_size**2 * _FLOAT,
        largest=LARGEST.get(kind, LARGEST["cpu"]),
    )
