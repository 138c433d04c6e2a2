"""Tiny frozen networks in the published formats, and a whole run of the published recipe on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from tests.data_prep.training.making import all_sources
from tests.models.making import SIZE, TRANSFORMER, write_codec, write_text

EDGE, CROP, TEACHER = 32, 28, 24  # 2 × 2 patches of 14: a quarter of the 16 codes


def write_teacher(folder: Path, **crop: Any) -> None:
    """A DINOv2 as the hub has it, with its processor's configuration."""
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(
        hidden_size=TEACHER, num_hidden_layers=1, num_attention_heads=2, image_size=CROP,
        patch_size=14, mlp_ratio=1,
    )  # fmt: skip
    Dinov2Model(config).save_pretrained(str(folder))
    processor = {
        "crop_size": {"height": CROP, "width": CROP},
        "do_center_crop": True,
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.485, 0.456, 0.406],
        "image_processor_type": "BitImageProcessor",
        "image_std": [0.229, 0.224, 0.225],
        "resample": 3,
        "rescale_factor": 0.00392156862745098,
        "size": {"shortest_edge": EDGE},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor | crop))


def write_networks(root: Path) -> None:
    """Codec, text encoder and teacher, and the config.json that `--config` reads."""
    torch.manual_seed(0)
    write_codec(root / "codec", SIZE)
    write_text(root / "text")
    write_teacher(root / "teacher")
    vq = json.loads((root / "codec" / "config.json").read_text())["vq"]
    config = {"transformer": TRANSFORMER, "vq": vq}
    (root / "config.json").write_text(json.dumps(config))


def write_all(root: Path) -> None:
    """Networks, and the five sources under `data`."""
    write_networks(root)
    all_sources(root / "data")


def arguments(root: Path, *more: str, **options: Any) -> list[str]:
    """What follows `editar-bench train`; options as keywords replace the defaults."""
    chosen = {
        "config": root / "config.json",
        "codec": root / "codec" / "codec.safetensors",
        "text": root / "text",
        "teacher": root / "teacher",
        "data": root / "data",
        "from": "none",
        "runs": root / "runs",
        "steps": 4,
        "batch": 8,
        "lanes": 2,
        "device": "cpu",
        "precision": "float32",
        "workers": 2,
    } | options
    listed = [
        part
        for name, value in chosen.items()
        for part in (f"--{name.replace('_', '-')}", str(value))
    ]
    return ["editar", "--recipe", "paper", *listed, *more]
