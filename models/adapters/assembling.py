"""Diffusers' own pipelines around networks that several models share.

A model's folder holds what is its own (`unet/` or `controlnet/`, and `scheduler/`) and a `config.json` that names the
folders of the others: `{"vae": "../vae", "text": "../text"}`, and a ControlNet's also `"base"`, the Stable Diffusion
that it steers. `models.weights_manifest` checks that those are the ones it was trained with.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.adapters.pipelines import load

if TYPE_CHECKING:
    from models.editar.text import TextEncoder


def assemble(kind: Any, scheduler: Any, vae: Any, text: TextEncoder, **networks: Any) -> Any:
    """A pipeline of class `kind`; it masks padding in the text encoder as `TextEncoder.encode` does."""
    text.encoder.config.use_attention_mask = True
    text.tokenizer.model_max_length = text.slots
    return kind(
        vae=vae,
        text_encoder=text.encoder,
        tokenizer=text.tokenizer,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        **networks,
    )


def load_assembled(kind: Any, scheduler: Any, folder: Path) -> Any:
    """The pipeline of a model's folder and of those that its `config.json` names: float32, on the CPU.

    Args:
        kind: the pipeline's class.
        scheduler: the sampler's class; its settings are the folder's.
        folder: of a Stable Diffusion or of one of its ControlNets.

    Raises:
        UserError: one of the folders cannot be read.
    """
    from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel

    from models.editar.pipeline import read_config, sibling
    from models.editar.text import load_text_encoder

    config = read_config(folder)
    networks = {}
    base = folder
    if "base" in config:
        base = sibling(folder, config["base"])
        networks["controlnet"] = load(ControlNetModel, folder / "controlnet")
    networks["unet"] = load(UNet2DConditionModel, base / "unet")
    vae = load(AutoencoderKL, sibling(folder, config.get("vae", "../vae")))
    text = load_text_encoder(sibling(folder, config.get("text", "../text")))
    return assemble(kind, load(scheduler, folder / "scheduler"), vae, text, **networks)
