"""LlamaGen's text-to-image transformer (arXiv 2406.06525): caption, then picture codes, in one sequence.

EditAR's modules without the condition picture. Module names and shapes follow the released `t2i_XL_stage1_256.pt` and
`t2i_XL_stage2_512.pt`. The caption stands at the end of its slots: empty slots come first, hold zeros and are seen by
nobody. The null text keeps the empty slots of the caption that it stands for, as published.

B batch, G guidance halves, R = B·G rows, L positions, D width, T text slots, C width of text features, N codes a
picture, V codebook.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.compact.next_token import Cache, sample_codes
from models.editar.checkpoint import load_rotary
from models.editar.choosing import SamplerSettings
from models.editar.config import TransformerConfig
from models.editar.rotary import rotary_table
from models.editar.text import TextEncoder
from models.editar.transformer import Block, CaptionEmbedder, RMSNorm, RotaryNetwork, initialize


class LlamaGen(RotaryNetwork):
    """Predicts the codes of a picture from its caption and the codes before."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.cls_embedding = CaptionEmbedder(config)
        self.tok_embeddings = nn.Embedding(config.vocab_size, config.dim)
        self.tok_dropout = nn.Dropout(config.token_dropout)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.norm = RMSNorm(config.dim, config.norm_eps)
        self.output = nn.Linear(config.dim, config.vocab_size, bias=False)
        self.register_buffer("rotary", self._table(), persistent=False)
        self.apply(initialize)
        nn.init.zeros_(self.output.weight)

    def _table(self) -> Tensor:
        """Zeros for text, then the picture's grid, which begins at row and column zero."""
        c = self.config
        table_LP2 = rotary_table(c.side, c.cls_token_num, c.head_dim, c.rope_base)
        # EditAR's table begins with that grid, as the place of the condition.
        return torch.cat([table_LP2[c.block_size : c.prefix_length], table_LP2[: c.block_size]])

    def forward_train(
        self, text: Tensor, mask_BT: Tensor, target_codes: Tensor, drop_text: Tensor
    ) -> Tensor:
        """Predict every code from those before it: logits float32 (B, N, V).

        Args:
            text: features (B, T, C) at the end of their slots (`at_the_end`).
            mask_BT: bool, where there is text.
            target_codes: int64 (B, N), row-major.
            drop_text: bool (B,), where the null text stands in.
        """
        text_BTD = self.cls_embedding(text, drop_text)
        # The last code is predicted, never read.
        codes_BMD = self.tok_embeddings(target_codes[:, :-1]).to(text_BTD.dtype)
        x_BLD = self.tok_dropout(torch.cat([text_BTD, codes_BMD], 1))
        seen_BL = torch.cat([mask_BT, mask_BT.new_ones(codes_BMD.shape[:2])], 1)
        table_LP2 = self.rotary[: x_BLD.shape[1]]
        for layer in self.layers:
            x_BLD = layer(x_BLD, table_LP2, seen_BL)
        hidden_BND = self.norm(x_BLD)[:, self.config.cls_token_num - 1 :]
        return self.output(hidden_BND).float()

    @torch.inference_mode()
    def sample(
        self, text: Tensor, mask_BT: Tensor, settings: SamplerSettings, uniforms_BN: Tensor
    ) -> Tensor:
        """Make codes int64 (B, N), row-major; the model must be in eval mode.

        Args:
            text: features (B, T, C) at the end of their slots.
            mask_BT: bool, where there is text.
            settings: guidance and filters.
            uniforms_BN: one random number a code (`models.editar.choosing.uniforms_for`).
        """
        reader = _Reader(self, text, mask_BT, 2 if settings.guidance > 1.0 else 1)
        return sample_codes(reader, self.config.block_size, settings, uniforms_BN)


def load_llamagen(
    path: Path | str,
    config: Mapping[str, Any],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> LlamaGen:
    """Load from .safetensors or .pt, as `models.editar.checkpoint.load_transformer` does."""
    return load_rotary(lambda: LlamaGen(TransformerConfig.from_dict(config)), path, device, dtype)


def encode_captions(encoder: TextEncoder, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Features (B, T, C) of captions at the end of their slots, and where there is text: bool (B, T)."""
    text = encoder.encode(captions)
    return at_the_end(text, encoder.tokenize(captions)[1].to(text.device))


def at_the_end(text: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Move features (B, T, C) and mask behind their padding, which becomes zeros; as published.

    `mask_BT` marks (1 or True) the text that stands at the beginning; what comes back is bool.
    """
    empty_B1 = (mask_BT == 0).sum(1, keepdim=True)
    place_T = torch.arange(mask_BT.shape[1], device=mask_BT.device)
    from_BT = (place_T - empty_B1) % mask_BT.shape[1]
    moved = text.gather(1, from_BT[..., None].expand_as(text))
    moved_mask_BT = place_T >= empty_B1
    return moved * moved_mask_BT[..., None].to(moved.dtype), moved_mask_BT


class _Reader:
    """One batch of captions on its way through the model."""

    def __init__(self, model: LlamaGen, text: Tensor, mask_BT: Tensor, halves: int) -> None:
        c = model.config
        self.model, self.halves = model, halves
        null_R = torch.arange(halves, device=text.device).repeat(len(text)) == 1
        self.text_RTD = model.cls_embedding(text.repeat_interleave(halves, 0), null_R)
        codes_BN = mask_BT.new_ones(len(text), c.block_size)
        self.seen_RL = torch.cat([mask_BT, codes_BN], 1).repeat_interleave(halves, 0)
        length = c.cls_token_num + c.block_size - 1
        self.caches = [Cache(layer.attention, len(null_R), length) for layer in model.layers]

    def first(self) -> Tensor:
        return self._read(self.text_RTD)

    def step(self, codes_B: Tensor, place: int) -> Tensor:
        return self._read(
            self.model.tok_embeddings(codes_B.repeat_interleave(self.halves))[:, None]
        )

    def _read(self, x_RLD: Tensor) -> Tensor:
        start = self.caches[0].filled
        end = start + x_RLD.shape[1]
        table_LP2, seen_RE = self.model.rotary[start:end], self.seen_RL[:, :end]
        for layer, cache in zip(self.model.layers, self.caches, strict=True):
            x_RLD = x_RLD + cache.attend(layer.attention_norm(x_RLD), table_LP2, seen_RE)
            x_RLD = x_RLD + layer.feed_forward(layer.ffn_norm(x_RLD))
        logits_RV = self.model.output(self.model.norm(x_RLD[:, -1])).float()
        return logits_RV.unflatten(0, (-1, self.halves))
