"""Tiny random weights in the shipped formats, and examples to run them on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from editar_bench.types import Example, Picture, Task
from models.editar.checkpoint import save_half
from models.editar.codec import Codec, CodecConfig
from models.editar.config import TransformerConfig
from models.editar.text import load_text_encoder, save_encoder, save_tokenizer, train_tokenizer
from models.editar.transformer import Transformer

SIZE, SLOTS, WIDTH = 16, 32, 16
COLORS, SHAPES = ("red", "green", "blue"), ("cube", "ball", "cone")
TEXTS = [f"make the {color} {shape} bigger" for color in COLORS for shape in SHAPES]
TEXTS += ["Given the depth image, generate an image following the description: a red cube"]
TRANSFORMER = {
    "dim": 32, "n_layer": 2, "n_head": 2, "vocab_size": 32, "block_size": 16,
    "cls_token_num": SLOTS, "caption_dim": WIDTH, "multiple_of": 32,
}  # fmt: skip


def noise(seed: int, size: int = SIZE) -> Picture:
    """A smooth random picture."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((size // 4, size // 4, 1), dtype=np.uint8))


def example(i: int, task: Task = Task.EDIT, **changes: Any) -> Example:
    values: dict[str, Any] = {
        "id": f"{task}-{i}",
        "task": task,
        "prompt": TEXTS[i % len(TEXTS)],
        "condition": noise(i),
        "target": noise(1000 + i),
    }
    return Example(**values | changes)


def write_text(folder: Path, width: int = WIDTH, slots: int = SLOTS) -> None:
    from transformers import T5Config, T5EncoderModel

    save_tokenizer(folder, train_tokenizer(TEXTS, 60), slots)
    sizes = {"d_model": width, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    encoder = T5EncoderModel(T5Config(vocab_size=60, dropout_rate=0.0, **sizes))
    with torch.no_grad():  # T5's own start is so small that half of the texts look alike
        for parameter in encoder.parameters():
            parameter.mul_(4)
    save_encoder(folder, encoder)


def write_codec(
    folder: Path,
    size: int = SIZE,
    multiplier: tuple[int, ...] = (1, 1, 1),
    multiscale: tuple[int, ...] | None = None,
) -> None:
    vq: dict[str, Any] = {
        "ch": 8, "ch_mult": multiplier, "encoder_res_blocks": 1, "decoder_res_blocks": 1,
        "z_channels": 8, "codebook_size": 32, "codebook_embed_dim": 4, "norm_groups": 4,
        "image_size": size, "multiscale": multiscale, "codebook_l2_norm": multiscale is None,
    }  # fmt: skip
    save_half(Codec(CodecConfig.from_dict(vq)), folder / "codec.safetensors")
    (folder / "config.json").write_text(json.dumps({"vq": vq}))


def write_editar(root: Path) -> None:
    """Codec, text encoder and transformer in sibling folders of `root`."""
    torch.manual_seed(0)
    write_text(root / "text")
    write_codec(root / "codec")
    transformer = Transformer(TransformerConfig.from_dict(TRANSFORMER))
    with torch.no_grad():  # at its start the attention hardly looks at anything
        for parameter in transformer.layers.parameters():
            parameter.mul_(6 if parameter.ndim > 1 else 1)
    # A head of zeros would draw from nothing; one of ones hardly draws.
    torch.nn.init.normal_(transformer.output.weight, std=0.4)
    save_half(transformer, root / "editar" / "transformer.safetensors")
    config = {"transformer": TRANSFORMER, "codec": "../codec", "text": "../text"}
    (root / "editar" / "config.json").write_text(json.dumps(config))


def small_vae() -> Any:
    """A random KL autoencoder of pictures of SIZE pixels."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        sample_size=SIZE,
        scaling_factor=0.5,
    )


def write_vae(folder: Path) -> None:
    small_vae().save_pretrained(str(folder))


def small_unet(pictures: int = 1) -> Any:
    """A random UNet that sees the latents of so many pictures."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=SIZE // 2,
        in_channels=4 * pictures,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=2,
        norm_num_groups=8,
    )


def write_latent_diffusion(root: Path) -> None:
    """Autoencoder, text encoder, Stable Diffusion, its ControlNets and InstructPix2Pix, in the shipped formats."""
    from diffusers import ControlNetModel

    from models.training.controlnet_recipe import sampler as control_sampler
    from models.training.instruct_pix2pix_recipe import instruct_pipeline
    from models.training.stable_diffusion_recipe import sampler

    torch.manual_seed(0)
    write_text(root / "text")
    write_vae(root / "vae")
    unet = small_unet()
    unet.save_pretrained(str(root / "stable-diffusion" / "unet"))
    shared = {"vae": "../vae", "text": "../text"}
    folders = {"stable-diffusion": shared}
    for task in (Task.DEPTH, Task.EDGE, Task.SEGMENTATION):
        folder = root / f"controlnet-{task}"
        folders[folder.name] = shared | {"base": "../stable-diffusion"}
        # Two embedding channels are one halving, as the small autoencoder's.
        network = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 16))
        with torch.no_grad():  # it starts by steering nothing
            for name, weight in network.named_parameters():
                if "controlnet_" in name:
                    torch.nn.init.normal_(weight, std=0.1)
        network.save_pretrained(str(folder / "controlnet"))
    for name, config in folders.items():
        scheduler = control_sampler() if "base" in config else sampler()
        scheduler.save_pretrained(str(root / name / "scheduler"))
        (root / name / "config.json").write_text(json.dumps(config))
    text = load_text_encoder(root / "text")
    pipeline = instruct_pipeline(small_unet(pictures=2), small_vae(), text)
    pipeline.save_pretrained(str(root / "instruct-pix2pix"))
