"""Meissonic's network and its masked decoding (Bai et al. 2024, arXiv 2410.08261), on the parts that diffusers has.

The names of the parameters are those of the released files; the code of their repository is not needed. Flux's blocks
between aMUSEd's embedding of codes and its head; at 1024 pixels codes are drawn together two by two.

B rows, h w codes, N = h w / 4 or h w positions, L text tokens, D width, V codes of the codebook.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import ConfigMixin, DiffusionPipeline, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.image_processor import VaeImageProcessor
from diffusers.models.embeddings import (
    CombinedTimestepTextProjEmbeddings,
    TimestepEmbedding,
    get_timestep_embedding,
)
from diffusers.models.normalization import RMSNorm
from diffusers.models.resnet import Downsample2D, Upsample2D
from diffusers.models.transformers.transformer_flux import (
    FluxPosEmbed,
    FluxSingleTransformerBlock,
    FluxTransformerBlock,
)
from diffusers.models.unets.uvit_2d import ConvMlmLayer, UVit2DConvEmbed
from diffusers.pipelines.pipeline_utils import ImagePipelineOutput
from torch import Tensor, nn

EPSILON = 1e-6
MICRO_WIDTH = 256  # of each of the five micro-conditions
AESTHETIC = 6  # the score that a picture is asked to have
TOKENS = 77
NOISE = (2, 0)  # Gumbel temperature of the choice of codes to keep, from the first to the last step


class MeissonicTransformer(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Codes, some of them masked, and a text in; logits of every code out."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        num_layers: int,
        num_single_layers: int,
        attention_head_dim: int,
        num_attention_heads: int,
        joint_attention_dim: int,
        pooled_projection_dim: int,
        axes_dims_rope: tuple[int, ...] = (16, 56, 56),
        vocab_size: int = 8256,
        codebook_size: int = 8192,
        downsample: bool = False,
        upsample: bool = False,
    ) -> None:
        super().__init__()
        width = num_attention_heads * attention_head_dim
        sizes = (width, num_attention_heads, attention_head_dim)
        self.embed = UVit2DConvEmbed(width, width, vocab_size, True, EPSILON, False)
        self.cond_embed = TimestepEmbedding(
            5 * MICRO_WIDTH + pooled_projection_dim, width, sample_proj_bias=False
        )
        self.time_text_embed = CombinedTimestepTextProjEmbeddings(width, pooled_projection_dim)
        self.pos_embed = FluxPosEmbed(theta=10000, axes_dim=axes_dims_rope)
        self.context_embedder = nn.Linear(joint_attention_dim, width)
        self.encoder_proj_layer_norm = RMSNorm(width, EPSILON)
        self.down_block = _Scaled(width, down=downsample)
        self.project_to_hidden_norm = RMSNorm(width, EPSILON)
        self.project_to_hidden = nn.Linear(width, width, bias=False)
        self.transformer_blocks = nn.ModuleList(
            FluxTransformerBlock(*sizes) for _ in range(num_layers)
        )
        self.single_transformer_blocks = nn.ModuleList(
            FluxSingleTransformerBlock(*sizes) for _ in range(num_single_layers)
        )
        self.project_from_hidden_norm = RMSNorm(width, EPSILON)
        self.project_from_hidden = nn.Linear(width, width, bias=False)
        self.up_block = _Scaled(width, up=upsample)
        self.mlm_layer = ConvMlmLayer(width, width, False, True, EPSILON, codebook_size)

    def forward(
        self,
        codes_Bhw: Tensor,
        text_BLW: Tensor,
        pooled_BP: Tensor,
        micro_B5: Tensor,
        time_1: Tensor,
    ) -> Tensor:
        """Logits (B, V, h, w).

        Args:
            codes_Bhw: masked ones are the last of the vocabulary.
            text_BLW: hidden states of the text encoder's layer before the last.
            pooled_BP: the text's projection.
            micro_B5: width and height in pixels, upper left corner, aesthetic score.
            time_1: steps that are still to come.
        """
        micro_BM = get_timestep_embedding(
            micro_B5.flatten(), MICRO_WIDTH, flip_sin_to_cos=True, downscale_freq_shift=0
        ).reshape(len(micro_B5), -1)
        asked_BD = self.cond_embed(torch.cat([pooled_BP, micro_BM], dim=1).to(self.dtype))
        asked_BD = self.time_text_embed(time_1.float() * 1000, asked_BD)
        maps_BDhw = self.down_block(self.embed(codes_Bhw))
        height, width = maps_BDhw.shape[2:]
        x_BND = maps_BDhw.flatten(2).transpose(1, 2)
        x_BND = self.project_to_hidden(self.project_to_hidden_norm(x_BND))
        text_BLD = self.encoder_proj_layer_norm(self.context_embedder(text_BLW))
        rotary = self.pos_embed(_positions(text_BLD.shape[1], height, width, x_BND.device))
        for block in (*self.transformer_blocks, *self.single_transformer_blocks):
            text_BLD, x_BND = block(
                hidden_states=x_BND,
                encoder_hidden_states=text_BLD,
                temb=asked_BD,
                image_rotary_emb=rotary,
            )
        x_BND = self.project_from_hidden(self.project_from_hidden_norm(x_BND))
        logits: Tensor = self.mlm_layer(
            self.up_block(x_BND.transpose(1, 2).unflatten(2, (height, width)))
        )
        return logits


class _Scaled(nn.Module):
    """Maps of half or double size, or as they are; the names are those of the released files."""

    def __init__(self, width: int, down: bool = False, up: bool = False) -> None:
        super().__init__()
        norm: dict[str, Any] = {
            "norm_type": "rms_norm", "eps": EPSILON, "elementwise_affine": True, "bias": False,
        }  # fmt: skip
        self.downsample = self.upsample = None
        if down:
            self.downsample = Downsample2D(
                width, use_conv=True, padding=0, name="Conv2d_0", kernel_size=2, **norm
            )
        if up:
            self.upsample = Upsample2D(
                width, use_conv_transpose=True, kernel_size=2, padding=0, name="conv",
                interpolate=False, **norm,
            )  # fmt: skip

    def forward(self, maps_BDhw: Tensor) -> Tensor:
        scale = self.downsample or self.upsample
        return maps_BDhw if scale is None else scale(maps_BDhw)


def _positions(texts: int, height: int, width: int, device: torch.device) -> Tensor:
    """(L + h w, 3): text at the origin, row and column of every place of a map."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    places = torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).reshape(-1, 3)
    return torch.cat([torch.zeros(texts, 3, dtype=places.dtype), places]).to(device)


class MeissonicPipeline(DiffusionPipeline):  # type: ignore[misc]
    """Draws codes under a text, all of them or those of a picture that were masked; aMUSEd's schedule.

    One picture a call: the schedule takes one generator.
    """

    model_cpu_offload_seq = "text_encoder->transformer->vqvae"
    _exclude_from_cpu_offload = ("vqvae",)  # its codebook is read outside of its `forward`

    def __init__(
        self, vqvae: Any, tokenizer: Any, text_encoder: Any, transformer: Any, scheduler: Any
    ) -> None:
        super().__init__()
        self.register_modules(
            vqvae=vqvae,
            tokenizer=tokenizer,
            text_encoder=text_encoder,
            transformer=transformer,
            scheduler=scheduler,
        )
        self.scale = 2 ** (len(vqvae.config.block_out_channels) - 1)
        self.image_processor = VaeImageProcessor(vae_scale_factor=self.scale, do_normalize=False)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def __call__(
        self,
        prompt: list[str],
        negative_prompt: list[str],
        height: int,
        width: int,
        num_inference_steps: int,
        guidance_scale: float,
        generator: torch.Generator,
        image: Any = None,
        strength: float = 1.0,
        output_type: str = "np",
    ) -> Any:
        """The picture of one prompt, as the other pipelines return theirs; without `image` of the text alone."""
        text, pooled = self._read([*negative_prompt, *prompt])
        size = [width, height, 0, 0, AESTHETIC]
        micro = torch.tensor([size] * 2, device=text.device, dtype=text.dtype)
        self.scheduler.set_timesteps(num_inference_steps, NOISE, text.device)
        times = self.scheduler.timesteps
        codes = self._start(image, height, width)
        if image is not None:
            first = num_inference_steps - int(num_inference_steps * strength)
            codes = self.scheduler.add_noise(codes, times[first - 1], generator=generator)
            times = times[first:]
        for time in times:
            without, with_text = self.transformer(
                torch.cat([codes, codes]), text, pooled, micro, time.reshape(1)
            ).chunk(2)
            logits = without + max(guidance_scale, 1.0) * (with_text - without)  # below 1: none
            codes = self.scheduler.step(logits, time, codes, generator=generator).prev_sample
        shape = (1, *codes.shape[1:], self.vqvae.config.latent_channels)
        drawn = self.vqvae.decode(codes, force_not_quantize=True, shape=shape).sample.clip(0, 1)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(self.image_processor.postprocess(drawn, output_type))

    def _read(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Hidden states of the layer before the last, and the projections."""
        ids = self.tokenizer(
            texts, padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt"
        ).input_ids
        read = self.text_encoder(ids.to(self._execution_device), output_hidden_states=True)
        return read.hidden_states[-2], read.text_embeds

    def _start(self, image: Any, height: int, width: int) -> Tensor:
        """Codes (1, h, w) of the picture, or masks everywhere."""
        size, device = (1, height // self.scale, width // self.scale), self._execution_device
        if image is None:
            return torch.full(size, self.scheduler.config.mask_token_id, device=device)
        pixels = self.image_processor.preprocess(image).to(self.vqvae.dtype).to(device)
        codes: Tensor = self.vqvae.quantize(self.vqvae.encode(pixels).latents)[2][2]
        return codes.reshape(size)
