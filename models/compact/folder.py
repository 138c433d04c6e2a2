"""A weights folder of a compact model: config.json and transformer.safetensors, beside codec and text encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from models.editar.checkpoint import load_codec, load_rotary
from models.editar.codec import Codec
from models.editar.pipeline import read_config, section, sibling
from models.editar.text import TextEncoder, load_text_encoder
from models.editar.transformer import RotaryNetwork

Network = TypeVar("Network", bound=RotaryNetwork)


@dataclass(slots=True)
class Parts(Generic[Network]):
    """Networks that belong together, on one device, in eval mode and float32."""

    codec: Codec
    text: TextEncoder
    network: Network
    device: torch.device


def load_folder(
    folder: Path,
    build: Callable[[Mapping[str, Any]], Network],
    device: torch.device | str = "cpu",
) -> Parts[Network]:
    """Load a network with the codec and the text encoder that its config.json names as sibling folders.

    Args:
        folder: of the network.
        build: makes the network of the `transformer` object of config.json; called where tensors have no memory.
        device: where to.

    Raises:
        UserError: a file is missing, damaged or does not fit the others.
    """
    config = read_config(folder)
    sizes = section(config, "transformer", folder)
    network = load_rotary(lambda: build(sizes), folder / "transformer.safetensors", device)
    codec_folder = sibling(folder, str(config.get("codec", "../codec")))
    text_folder = sibling(folder, str(config.get("text", "../text")))
    vq = section(read_config(codec_folder), "vq", codec_folder)
    text = load_text_encoder(text_folder, int(sizes["cls_token_num"]))
    return Parts(
        codec=load_codec(codec_folder / "codec.safetensors", vq, device),
        text=text.to(device),
        network=network,
        device=torch.device(device),
    )
