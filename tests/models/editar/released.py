"""Random files in the layout of the published ones, of any size."""

from __future__ import annotations

import argparse
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.compact.llamagen import LlamaGen
from models.editar.codec import Codec, CodecConfig
from models.editar.config import TransformerConfig
from models.editar.transformer import Transformer


def random_state(module: torch.nn.Module) -> OrderedDict[str, Tensor]:
    """Values of about the published scale for a module on the meta device."""
    state = OrderedDict()
    for key, value in module.state_dict().items():
        if key.endswith("norm.weight") or ".norm" in key and key.endswith("weight"):
            state[key] = torch.ones(value.shape)
        else:
            state[key] = torch.empty(value.shape).normal_(std=max(value.shape[-1], 1) ** -0.5)
    return state


def write_transformer(path: Path, config: dict[str, Any], optimizer: bool = True) -> None:
    """What the published trainer writes: weights, distillation, optimizer, steps and arguments."""
    with torch.device("meta"):
        model = Transformer(TransformerConfig.from_dict(config))
    state = random_state(model)
    state["alignment.weight"] = torch.zeros(768, model.config.dim, 2, 2)
    state["alignment.bias"] = torch.zeros(768)
    write_trained(path, state, optimizer)


def write_llamagen(path: Path, config: dict[str, Any]) -> None:
    """What LlamaGen's trainer writes for one stage of its text-to-image model."""
    with torch.device("meta"):
        model = LlamaGen(TransformerConfig.from_dict(config))
    write_trained(path, random_state(model))


def write_trained(path: Path, state: OrderedDict[str, Tensor], optimizer: bool = True) -> None:
    """Weights as both trainers leave them."""
    content: dict[str, Any] = {"model": state, "steps": 40_000}
    content["args"] = argparse.Namespace(lr=1e-4, cloud_save_path=None, gpt_model="GPT-XL")
    if optimizer:
        moments = {i: {"exp_avg": torch.zeros_like(v)} for i, v in enumerate(state.values())}
        content["optimizer"] = {"state": moments, "param_groups": [{"lr": 1e-4}]}
    torch.save(content, path)


def write_codec(path: Path, config: dict[str, Any]) -> None:
    """What LlamaGen's trainer writes for a codec."""
    with torch.device("meta"):
        codec = Codec(CodecConfig.from_dict(config))
    torch.save({"model": random_state(codec), "steps": 7}, path)
