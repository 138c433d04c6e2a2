"""How much memory a diffusers pipeline takes, so that a batch can be fitted to a device.

An estimate from the weights' files and the sizes of latents and pictures: the parameters, and the larger of two peaks,
one step of the UNet or the decoding of the pictures. What it misses (workspaces of convolutions, for one) is caught
when it happens: a batch that does not fit is halved by the harness.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from editar_bench.contracts import Footprint
from models.adapters.hub import CONFIG, Found

LARGEST = {"cpu": 4, "cuda": 16}  # pictures; beyond them the UNet is as busy as it gets
# Counted on Stable Diffusion's networks without their data. Maps of the finest latents and the first width that a row
# holds at the UNet's peak: 26, and up to 5 that a ControlNet hands over.
UNET_MAPS = 31
DECODER_MAPS = 3  # maps of the full picture, as wide as the last block's input: a residual, its norm and activation
_FLOAT = 4  # bytes of a parameter in a pickle, which names no type


def diffusion_footprint(
    parts: Sequence[Found], size: int, side: int, rows: int, largest: int, memory: str
) -> Footprint:
    """What the pipeline made of these parts takes.

    Args:
        parts: a pipeline, and the networks that are added to it.
        size: bytes of a number.
        side: of the pictures it makes, in pixels.
        rows: of the UNet's batch for a picture: 2 with guidance, 3 with guidance by text and picture.
        largest: pictures.
        memory: "none", "slices" or "offload", as `pipelines.place` takes it.
    """
    networks = [count * size for part in parts for count in parameters(part).values()]
    pipeline = parts[0].folder
    decoding = DECODER_MAPS * size * side**2 * _widths(pipeline, "vae", "vqvae")[:2][-1]
    scale = 2 ** (len(_widths(pipeline, "vae", "vqvae")) - 1)
    step = rows * UNET_MAPS * size * (side // scale) ** 2 * _widths(pipeline, "unet")[0]
    loaded = max(networks) if memory == "offload" else sum(networks)
    if memory == "none":
        return Footprint(loaded=loaded, picture=max(step, decoding), largest=largest)
    return Footprint(loaded=loaded + decoding, picture=step, largest=largest)  # decoded one by one


def parameters(found: Found) -> Mapping[str, int]:
    """Network (its folder in a pipeline, "" of a single one) to its number of parameters, from the files' headers."""
    counted: Counter[str] = Counter()
    for name in found.files:
        network, _, file = name.rpartition("/")
        if file.endswith(".safetensors"):
            counted[network] += sum(prod(shape) for shape in _shapes(found.folder / name))
        elif file.endswith(".bin"):
            counted[network] += (found.folder / name).stat().st_size // _FLOAT
    return counted


def _shapes(path: Path) -> list[list[int]]:
    """Of every tensor of a safetensors file; none of a damaged one, which loading will name."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return [entry["shape"] for name, entry in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, MemoryError):
        return []


def _widths(pipeline: Path, *parts: str) -> list[int]:
    """Channels of a network's blocks, the finest first; of the first of the parts that the pipeline has."""
    for part in parts:
        path = pipeline / part / CONFIG
        if path.is_file():
            config: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return list(config.get("block_out_channels") or [1])
    return [1]
