"""How much memory the published EditAR takes, so that a batch can be fitted to a device.

An estimate from the shapes of what is kept. What it misses is caught when it happens: a batch that does not fit is
halved by the harness.
"""

from __future__ import annotations

import torch

from editar_bench.contracts import Footprint
from models.editar import released
from models.editar.codec import Codec, CodecConfig
from models.editar.config import TransformerConfig
from models.editar.pipeline import CODEC_PIXELS
from models.editar.precision import Precision
from models.editar.transformer import Transformer

TEXT_PARAMETERS = 1_223_527_424  # the encoder of Flan-T5-XL
# Pictures; beyond them the cache's traffic is all the time there is.
LARGEST = {"cpu": 4, "cuda": 32}
_FLOAT = 4
MAPS = 6  # feature maps of full size that the codec holds at its peak


def released_footprint(device: str, precision: Precision) -> Footprint:
    """Of the model with its defaults, in float32 on a CPU and bfloat16 on a GPU.

    Args:
        device: such as "cuda:0".
        precision: of weights and cache while sampling.
    """
    kind = device.partition(":")[0]
    size = _FLOAT if kind == "cpu" else 2
    config = TransformerConfig.from_dict(released.TRANSFORMER.config)
    codec = CodecConfig.from_dict(released.CODEC.config)
    with torch.device("meta"):
        transformer = sum(p.numel() for p in Transformer(config).parameters())
        codec_weights = sum(p.numel() for p in Codec(codec).parameters())
    copies = 0 if precision.weights == "full" else transformer * (size if kind == "cpu" else 1)
    pixels = max(CODEC_PIXELS, codec.image_size**2)
    loaded = (transformer + TEXT_PARAMETERS) * size + copies + codec_weights * _FLOAT
    return Footprint(
        loaded=loaded + pixels * codec.ch * _FLOAT * MAPS,
        picture=_cache(config, 1 if precision.cache == "fp8" and kind != "cpu" else size)
        + _prefill(config, size),
        largest=LARGEST.get(kind, LARGEST["cpu"]),
    )


def _cache(c: TransformerConfig, size: int) -> int:
    """Keys and values: the condition once, text and target once a guidance half."""
    return 2 * c.n_layer * c.dim * 3 * c.block_size * size


def _prefill(c: TransformerConfig, size: int) -> int:
    """One layer at work on the condition: products, their turned copies in float32, the hidden layer."""
    turned = 3 * c.dim * (2 * size + 2 * _FLOAT)
    return c.block_size * (turned + 2 * c.ffn_dim * size + 4 * c.dim * size)
