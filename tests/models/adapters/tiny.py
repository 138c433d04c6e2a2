"""Tiny random diffusion pipelines, saved in the layout of the released ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

SIDE = 32  # pixels; the autoencoder halves them once
WIDTH = 32  # of the text features
CHARACTERS = [*(chr(i) for i in range(32, 127)), "\n"]


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


def write_omnigen(folder: Path) -> None:
    """OmniGen; its pictures are read in squares of 16 pixels, so the autoencoder has four sizes."""
    from diffusers import (
        AutoencoderKL,
        FlowMatchEulerDiscreteScheduler,
        OmniGenPipeline,
        OmniGenTransformer2DModel,
    )

    transformer = OmniGenTransformer2DModel(
        hidden_size=16, num_attention_heads=4, num_key_value_heads=4, intermediate_size=32,
        num_layers=1, time_step_dim=4, vocab_size=len(CHARACTERS) + 3, pad_token_id=0,
        rope_scaling={"long_factor": [1, 2], "short_factor": [1, 2]}, pos_embed_max_size=16,
    )  # fmt: skip
    with torch.no_grad():
        for parameter in transformer.parameters():
            parameter.mul_(4 if parameter.ndim > 1 else 1)
    OmniGenPipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(invert_sigmas=True, num_train_timesteps=1),
        vae=AutoencoderKL(
            block_out_channels=(4,) * 4, norm_num_groups=1, sample_size=SIDE, latent_channels=4,
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        ),
        tokenizer=character_tokenizer(),
    ).save_pretrained(str(folder))  # fmt: skip


def write_qwen(folder: Path) -> None:
    """Qwen-Image-Edit: a model of text and pictures reads the instruction and the source."""
    from diffusers import (
        AutoencoderKLQwenImage,
        FlowMatchEulerDiscreteScheduler,
        QwenImageEditPipeline,
        QwenImageTransformer2DModel,
    )
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2Tokenizer,
        Qwen2VLImageProcessor,
        Qwen2VLProcessor,
        Qwen2VLVideoProcessor,
    )

    special = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
               "<|image_pad|>", "<|video_pad|>"]  # fmt: skip
    # In bytes-level BPE a blank and a line end have letters of their own.
    words = ["<|endoftext|>", "\u0120", "\u010a", *CHARACTERS[1:-1]]
    tokenizer = Qwen2Tokenizer(vocab={w: i for i, w in enumerate(words)}, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    ids = dict(zip(special, tokenizer.convert_tokens_to_ids(special), strict=True))
    width = 16
    encoder = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer), "hidden_size": width, "intermediate_size": width,
            "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2,
            "bos_token_id": 0, "eos_token_id": 0,
            "rope_scaling": {"mrope_section": [1, 1, 2], "rope_type": "default"},
        },
        vision_config={
            "depth": 1, "hidden_size": width, "intermediate_size": width, "num_heads": 2,
            "out_hidden_size": width, "fullatt_block_indexes": [0],
        },
        image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"],
    ))  # fmt: skip
    transformer = QwenImageTransformer2DModel(
        in_channels=16, out_channels=4, num_layers=1, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=width, axes_dims_rope=(8, 4, 4),
    )  # fmt: skip
    vae = AutoencoderKLQwenImage(
        base_dim=8, z_dim=4, dim_mult=[1, 2, 2], num_res_blocks=1,
        temperal_downsample=[False, True], latents_mean=[0.0] * 4, latents_std=[1.0] * 4,
    )  # fmt: skip
    with torch.no_grad():
        for network, gain in ((encoder, 4), (transformer, 6), (vae.decoder, 1.5)):
            for parameter in network.parameters():
                parameter.mul_(gain if parameter.ndim > 1 else 1)
    QwenImageEditPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=vae,
        text_encoder=encoder,
        tokenizer=tokenizer,
        processor=Qwen2VLProcessor(
            image_processor=Qwen2VLImageProcessor(min_pixels=28 * 28, max_pixels=28 * 28),
            tokenizer=tokenizer,
            video_processor=Qwen2VLVideoProcessor(),
        ),
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


def write_meissonic(folder: Path) -> None:
    """As its repository has it: an index and a network that name classes of its own, and a text encoder."""
    from diffusers import AmusedScheduler, VQModel
    from transformers import CLIPTextModelWithProjection

    from models.adapters.meissonic_network import MeissonicTransformer

    transformer = MeissonicTransformer(
        num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=WIDTH, pooled_projection_dim=WIDTH, axes_dims_rope=(4, 4, 8),
        vocab_size=32, codebook_size=8, downsample=True, upsample=True,
    )  # fmt: skip
    codec = VQModel(
        act_fn="silu", block_out_channels=[8, 8], down_block_types=["DownEncoderBlock2D"] * 2,
        in_channels=3, latent_channels=8, layers_per_block=1, norm_num_groups=8,
        num_vq_embeddings=8, out_channels=3, sample_size=8,
        up_block_types=["UpDecoderBlock2D"] * 2, mid_block_add_attention=False,
        lookup_from_codebook=True,
    )  # fmt: skip
    with torch.no_grad():  # at its start it hears no text and sees no picture
        for parameter in transformer.parameters():
            parameter.mul_(4 if parameter.ndim > 1 else 1)
        codec.quantize.embedding.weight.mul_(8)
    parts = {
        "vqvae": codec,
        "transformer": transformer,
        "text_encoder": CLIPTextModelWithProjection(_text_config(WIDTH)),
        "tokenizer": tokenizer(),
        "scheduler": AmusedScheduler(mask_token_id=31),
    }
    for name, part in parts.items():
        part.save_pretrained(str(folder / name))
    config = folder / "transformer" / "config.json"
    published = {"_class_name": "Transformer2DModel", "guidance_embeds": False, "patch_size": 1}
    config.write_text(json.dumps(json.loads(config.read_text()) | published))
    index = {"_class_name": "Pipeline", "transformer": ["src.transformer", "Transformer2DModel"]}
    (folder / "model_index.json").write_text(json.dumps(index))


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


def character_tokenizer() -> Any:
    """Every character a word, after padding, start and unknown."""
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<s>", "<unk>", *CHARACTERS]
    bare = Tokenizer(BPE({w: i for i, w in enumerate(words)}, [], unk_token="<unk>"))
    return PreTrainedTokenizerFast(
        tokenizer_object=bare, pad_token="<pad>", bos_token="<s>", unk_token="<unk>"
    )


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
