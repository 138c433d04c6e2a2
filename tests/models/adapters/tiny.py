"""Tiny random diffusion pipelines, saved in the layout of the released ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

SIDE = 32  # pixels; the autoencoder halves them once
WIDTH = 32  # of the text features


def write_stable_diffusion(folder: Path, channels: int = 4, kind: str = "") -> None:
    """`channels`: of the UNet's input; InstructPix2Pix has 8. `kind`: the pipeline's class."""
    import diffusers

    parts = {
        "vae": vae(),
        "text_encoder": text_encoder(),
        "tokenizer": tokenizer(),
        "unet": unet(channels),
        "scheduler": diffusers.PNDMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
            skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1,
        ),
        "safety_checker": None,
        "feature_extractor": None,
    }  # fmt: skip
    kind = kind or "StableDiffusionPipeline"
    getattr(diffusers, kind)(**parts, requires_safety_checker=False).save_pretrained(str(folder))


def write_controlnet(folder: Path) -> None:
    from diffusers import ControlNetModel

    net = ControlNetModel(
        in_channels=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        block_out_channels=(32, 64),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        norm_num_groups=8,
        attention_head_dim=4,
        conditioning_embedding_out_channels=(16, 32),
    )
    with torch.no_grad():  # it starts at zero convolutions, through which no condition comes
        for name, parameter in net.named_parameters():
            if "controlnet_" in name:
                parameter.normal_(0, 0.3)
    net.save_pretrained(str(folder))


def write_t2i_adapter(folder: Path, channels: int) -> None:
    from diffusers import T2IAdapter

    net = T2IAdapter(in_channels=channels, channels=[32, 64], num_res_blocks=1, downscale_factor=2)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(3)
    net.save_pretrained(str(folder))


def write_controlnet_pipeline(folder: Path, base: Path, network: Path) -> None:
    """One pipeline folder with everything in it."""
    from diffusers import ControlNetModel, StableDiffusionControlNetPipeline

    StableDiffusionControlNetPipeline.from_pretrained(
        str(base),
        controlnet=ControlNetModel.from_pretrained(str(network)),
        safety_checker=None,
        requires_safety_checker=False,
    ).save_pretrained(str(folder))


def write_kontext(folder: Path) -> None:
    """FLUX.1 Kontext; its pipeline takes no strength and chooses sizes of its own."""
    from diffusers import (
        AutoencoderKL,
        FlowMatchEulerDiscreteScheduler,
        FluxKontextPipeline,
        FluxTransformer2DModel,
    )
    from transformers import T5Config, T5EncoderModel

    transformer = FluxTransformer2DModel(
        patch_size=1, in_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=WIDTH, pooled_projection_dim=WIDTH,
        axes_dims_rope=(4, 4, 8), guidance_embeds=True,
    )  # fmt: skip
    with torch.no_grad():  # at its start the rows hardly look at each other
        for parameter in transformer.parameters():
            parameter.mul_(4 if parameter.ndim > 1 else 1)
    FluxKontextPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=AutoencoderKL(
            block_out_channels=(8,), latent_channels=1, norm_num_groups=1, sample_size=SIDE,
            use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06,
            scaling_factor=1.5,
        ),
        text_encoder=text_encoder(),
        tokenizer=tokenizer(),
        text_encoder_2=T5EncoderModel(
            T5Config(vocab_size=190, d_model=WIDTH, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
        ),
        tokenizer_2=tokenizer(),
        transformer=transformer,
    ).save_pretrained(str(folder))  # fmt: skip


def write_amused(folder: Path) -> None:
    from diffusers import AmusedPipeline, AmusedScheduler, UVit2DModel, VQModel
    from transformers import CLIPTextModelWithProjection

    transformer = UVit2DModel(
        hidden_size=8, use_bias=False, hidden_dropout=0.0, cond_embed_dim=8,
        micro_cond_encode_dim=2, micro_cond_embed_dim=10, encoder_hidden_size=8, vocab_size=32,
        codebook_size=8, num_hidden_layers=1, num_attention_heads=1, attention_dropout=0.0,
        intermediate_size=8, layer_norm_eps=1e-06, ln_elementwise_affine=True,
        block_out_channels=8, in_channels=8, block_num_heads=1,
    )  # fmt: skip
    codec = VQModel(
        act_fn="silu", block_out_channels=[8], down_block_types=["DownEncoderBlock2D"],
        in_channels=3, latent_channels=8, layers_per_block=1, norm_num_groups=8,
        num_vq_embeddings=8, out_channels=3, sample_size=8,
        up_block_types=["UpDecoderBlock2D"], mid_block_add_attention=False,
        lookup_from_codebook=True,
    )  # fmt: skip
    with torch.no_grad():  # at its start it hears no text and sees no picture
        for parameter in transformer.parameters():
            parameter.mul_(4 if parameter.ndim > 1 else 1)
    AmusedPipeline(
        vqvae=codec,
        tokenizer=tokenizer(),
        text_encoder=CLIPTextModelWithProjection(_text_config(8)),
        transformer=transformer,
        scheduler=AmusedScheduler(mask_token_id=31),
    ).save_pretrained(str(folder))


def vae() -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(16, 32),
        norm_num_groups=8,
        sample_size=SIDE,
    )


def unet(channels: int) -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=SIDE // 2,
        in_channels=channels,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(32, 64),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=8,
    )


def tokenizer() -> Any:
    """CLIP's tokenizer with single characters as its words."""
    from transformers import CLIPTokenizer

    characters = [chr(i) for i in range(33, 127)]
    words = ["<|startoftext|>", "<|endoftext|>", *characters, *(c + "</w>" for c in characters)]
    return CLIPTokenizer(vocab={w: i for i, w in enumerate(words)}, merges=[], model_max_length=77)


def text_encoder() -> Any:
    from transformers import CLIPTextModel

    encoder = CLIPTextModel(_text_config(WIDTH))
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.mul_(4 if parameter.ndim > 1 else 1)
    return encoder


def _text_config(width: int) -> Any:
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=190, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=77, projection_dim=width,
        bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
