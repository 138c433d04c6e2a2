"""Tiny random networks of the published architectures, and their references in other packages."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import timm
import torch
from transformers import CLIPConfig, CLIPModel, CLIPTokenizerFast, ViTConfig, ViTModel

from editar_bench.evaluators.dino import Dino
from editar_bench.evaluators.lpips import SqueezeLpips, torchmetrics_heads

WIDTH, HEADS, DEPTH = 24, 3, 3


def save_clip(folder: Path) -> Path:
    """A CLIP in the hub's layout: config.json, model.safetensors, vocab.json and merges.txt."""
    folder.mkdir(parents=True)
    tower = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4}
    torch.manual_seed(0)
    config = CLIPConfig(
        text_config={
            **tower,
            "num_hidden_layers": 2,
            "vocab_size": 516,
            "max_position_embeddings": 77,
            "bos_token_id": 514,
            "eos_token_id": 515,
            "pad_token_id": 515,
        },
        vision_config={**tower, "num_hidden_layers": 2, "image_size": 224, "patch_size": 56},
        projection_dim=16,
    )
    model = CLIPModel(config)
    for parameter in model.parameters():  # transformers' start is too tame to tell inputs apart
        parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    _save_tokenizer(folder)
    return folder


def _save_tokenizer(folder: Path) -> None:
    """CLIP's byte alphabet with word ends, two merges, and its two special tokens."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    words = [*letters, *(letter + "</w>" for letter in letters), "ca", "cat</w>"]
    words += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\nc a\nca t</w>\n")
    CLIPTokenizerFast(
        vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt")
    ).save_pretrained(folder)


@lru_cache
def tiny_dino() -> Dino:
    """A DINO of 224 pixels and patches of 32: 50 tokens."""
    torch.manual_seed(1)
    vit = timm.create_model(
        "vit_base_patch32_224", num_classes=0, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS
    )
    for parameter in vit.parameters():  # timm's start is too tame to tell wrong wiring apart
        parameter.data += 0.2 * torch.randn_like(parameter)
    return Dino(vit).eval()


def transformers_vit(state: dict[str, torch.Tensor]) -> ViTModel:
    """The same network in transformers, which has layers, names and attention of its own."""
    config = ViTConfig(
        hidden_size=WIDTH,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        intermediate_size=4 * WIDTH,
        image_size=224,
        patch_size=32,
        layer_norm_eps=1e-6,
        attn_implementation="eager",
    )
    model = ViTModel(config, add_pooling_layer=False).eval()
    model.load_state_dict(_renamed(state))
    return model


_LAYER = {
    "attn.proj": "attention.o_proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
}


def _renamed(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    out = {
        "embeddings.cls_token": state["cls_token"],
        "embeddings.position_embeddings": state["pos_embed"],
    }
    for kind in ("weight", "bias"):
        out[f"layernorm.{kind}"] = state[f"norm.{kind}"]
        out[f"embeddings.patch_embeddings.projection.{kind}"] = state[f"patch_embed.proj.{kind}"]
        for i in range(DEPTH):
            thirds = state[f"blocks.{i}.attn.qkv.{kind}"].chunk(3)
            for name, third in zip("qkv", thirds, strict=True):
                out[f"layers.{i}.attention.{name}_proj.{kind}"] = third
            for old, new in _LAYER.items():
                out[f"layers.{i}.{new}.{kind}"] = state[f"blocks.{i}.{old}.{kind}"]
    return out


@lru_cache
def random_squeeze() -> Any:
    from torchvision.models import squeezenet1_1

    torch.manual_seed(2)
    return squeezenet1_1(weights=None).eval()


@lru_cache
def lpips() -> SqueezeLpips:
    return SqueezeLpips(random_squeeze().features, torchmetrics_heads()).eval()
