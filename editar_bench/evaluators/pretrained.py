"""The trained evaluators, loaded once a process."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from torch import nn

from editar_bench.errors import UserError
from editar_bench.evaluators.clip import SceneCLIP
from editar_bench.evaluators.depth import DepthEstimator
from editar_bench.evaluators.segmenter import Segmenter
from editar_bench.evaluators.weights import DEFAULT_FOLDER, checked_files, load_state

Network = TypeVar("Network", bound=nn.Module)


@lru_cache(maxsize=4)
def load_segmenter(device: str = "cpu", folder: Path = DEFAULT_FOLDER) -> Segmenter:
    """The segmenter in float32 and eval mode."""
    (path,) = checked_files("segmenter", folder)
    return _filled(Segmenter(), path, device)


@lru_cache(maxsize=4)
def load_depth(device: str = "cpu", folder: Path = DEFAULT_FOLDER) -> DepthEstimator:
    """The depth estimator in float32 and eval mode."""
    (path,) = checked_files("depth", folder)
    return _filled(DepthEstimator(), path, device)


@lru_cache(maxsize=4)
def load_clip(device: str = "cpu", folder: Path = DEFAULT_FOLDER) -> SceneCLIP:
    """The CLIP with its tokenizer, in float32 and eval mode."""
    weights, config, tokenizer = checked_files("clip", folder)
    clip = SceneCLIP(json.loads(config.read_text()), tokenizer.read_bytes())
    return _filled(clip, weights, device)


def _filled(network: Network, path: Path, device: str) -> Network:
    try:
        network.load_state_dict(load_state(path))
    except RuntimeError as error:
        raise UserError(
            f"The evaluator file {path} does not fit this version's network; "
            "fetch weights and code of one version."
        ) from error
    network.requires_grad_(False)
    network.to(device).eval()
    return network
