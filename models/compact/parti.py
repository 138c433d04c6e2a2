"""Parti (arXiv 2206.10789), compact: an encoder reads text and condition picture, a decoder writes the picture's codes.

What makes it Parti and not LlamaGen is the encoder, which sees all of its input at once and is trained with the rest,
and the cross-attention by which every layer of the decoder reads it. Modules and text features are EditAR's.

Decoder position i reads code i - 1 and predicts code i. In self-attention it stands where the code that it reads stands
(the start has no place); in cross-attention it asks from where the code that it predicts will stand, so that the same
place of the condition picture is the same place in the rotary table.

B batch, L decoder positions, S encoder positions (T text slots, then N condition codes), D width, H heads, K head
width, G guidance halves, R = B·G rows, V codebook.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.compact.next_token import Cache, sample_codes
from models.editar.causal import full_attention
from models.editar.choosing import SamplerSettings
from models.editar.config import TransformerConfig
from models.editar.rotary import rotary_table, rotate
from models.editar.transformer import (
    Attention,
    Block,
    CaptionEmbedder,
    FeedForward,
    RMSNorm,
    RotaryNetwork,
    initialize,
)

Attend = Callable[[Tensor], Tensor]  # a self-attention that knows its positions


@dataclass(frozen=True, slots=True, kw_only=True)
class PartiConfig(TransformerConfig):
    """As EditAR's; `n_layer` counts the decoder's layers."""

    encoder_layers: int = 2


class Read(NamedTuple):
    """What a decoder layer's cross-attention finds in the encoder's output.

    Text has its keys in the first half and zeros in the second, the picture its turned keys in the second.
    """

    keys_BHS2K: Tensor
    values_BHSK: Tensor


class CrossAttention(nn.Module):
    """Looks text up by what it says, and the condition picture also by where it lies."""

    def __init__(self, config: PartiConfig) -> None:
        super().__init__()
        self.n_head, self.slots = config.n_head, config.cls_token_num
        self.wq = nn.Linear(config.dim, config.dim, bias=False)
        self.wk = nn.Linear(config.dim, config.dim, bias=False)
        self.wv = nn.Linear(config.dim, config.dim, bias=False)
        self.wo = nn.Linear(config.dim, config.dim, bias=False)
        # With these a head can ask for a place, whatever the codes are (see models.training.pointing).
        self.place_query_HK = nn.Parameter(torch.zeros(config.n_head, config.head_dim))
        self.place_key_HK = nn.Parameter(torch.zeros(config.n_head, config.head_dim))

    def read(self, encoded_BSD: Tensor, table_NP2: Tensor) -> Read:
        """Keys and values of the encoder's output; they stay the same while a picture is written."""
        text_BHTK, image_BHNK = self._heads(self.wk(encoded_BSD)).tensor_split([self.slots], 2)
        plain_BHSK = F.pad(text_BHTK, (0, 0, 0, image_BHNK.shape[2]))
        image_BHNK = rotate(image_BHNK + self.place_key_HK[:, None], table_NP2)
        turned_BHSK = F.pad(image_BHNK.type_as(text_BHTK), (0, 0, self.slots, 0))
        return Read(torch.cat([plain_BHSK, turned_BHSK], -1), self._heads(self.wv(encoded_BSD)))

    def forward(self, x_BLD: Tensor, read: Read, table_LP2: Tensor) -> Tensor:
        """Attend from positions, whose places are the table's, to everything that was read."""
        q_BHLK = self._heads(self.wq(x_BLD))
        turned_BHLK = rotate(q_BHLK + self.place_query_HK[:, None], table_LP2)
        q_BHL2K = torch.cat([q_BHLK, turned_BHLK.type_as(q_BHLK)], -1)
        # Half of every key is zero: the scale is that of one half.
        y_BHLK = full_attention(2**0.5 * q_BHL2K, read.keys_BHS2K, read.values_BHSK)
        return self.wo(y_BHLK.transpose(1, 2).flatten(2))

    def _heads(self, x_BLD: Tensor) -> Tensor:
        return x_BLD.unflatten(-1, (self.n_head, -1)).transpose(1, 2)


class DecoderBlock(nn.Module):
    """Pre-norm causal self-attention, cross-attention and feed-forward, each with a residual branch."""

    def __init__(self, config: PartiConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.cross = CrossAttention(config)
        self.feed_forward = FeedForward(config)
        self.attention_norm = RMSNorm(config.dim, config.norm_eps)
        self.cross_norm = RMSNorm(config.dim, config.norm_eps)
        self.ffn_norm = RMSNorm(config.dim, config.norm_eps)

    def forward(self, x_BLD: Tensor, attend: Attend, read: Read, table_LP2: Tensor) -> Tensor:
        """One layer over positions that predict at the table's places; `attend` is their self-attention."""
        x_BLD = x_BLD + attend(self.attention_norm(x_BLD))
        x_BLD = x_BLD + self.cross(self.cross_norm(x_BLD), read, table_LP2)
        return x_BLD + self.feed_forward(self.ffn_norm(x_BLD))


class Parti(RotaryNetwork):
    """Predicts the codes of the target picture from condition codes and text."""

    def __init__(self, config: PartiConfig) -> None:
        super().__init__()
        self.config = config
        self.cls_embedding = CaptionEmbedder(config)
        self.tok_embeddings = nn.Embedding(config.vocab_size, config.dim)
        self.null_image_D = nn.Parameter(0.02 * torch.randn(config.dim))
        self.start_D = nn.Parameter(0.02 * torch.randn(config.dim))
        self.encoder = nn.ModuleList(Block(config) for _ in range(config.encoder_layers))
        self.encoder_norm = RMSNorm(config.dim, config.norm_eps)
        self.layers = nn.ModuleList(DecoderBlock(config) for _ in range(config.n_layer))
        self.norm = RMSNorm(config.dim, config.norm_eps)
        self.output = nn.Linear(config.dim, config.vocab_size, bias=False)
        self.register_buffer("rotary", self._table(), persistent=False)
        self.apply(initialize)
        nn.init.zeros_(self.output.weight)

    def _table(self) -> Tensor:
        """Turns of text (none) and picture in the encoder, then of the codes that the decoder reads."""
        c = self.config
        grid_NP2 = rotary_table(c.side, 0, c.head_dim, c.rope_base)[: c.block_size]
        text_TP2 = grid_NP2[:1].expand(c.cls_token_num, -1, -1)
        start_1P2 = torch.zeros_like(grid_NP2[:1])  # as EditAR's text: its key meets no query
        return torch.cat([text_TP2, grid_NP2, start_1P2, grid_NP2[:-1]])

    @property
    def picture_table(self) -> Tensor:
        """Turns of the places of a picture, (N, P, 2)."""
        return self.rotary[self.config.cls_token_num :][: self.config.block_size]

    def encode(
        self, text: Tensor, condition_codes: Tensor, drop_text_B: Tensor, drop_image_B: Tensor
    ) -> list[Read]:
        """What every decoder layer reads of text and condition picture.

        Args:
            text: encoder features (B, T, caption_dim).
            condition_codes: int64 (B, N), row-major.
            drop_text_B: bool, where the null text stands in.
            drop_image_B: bool, where the null picture stands in.
        """
        text_BTD = self.cls_embedding(text, drop_text_B)
        image_BND = self.tok_embeddings(condition_codes)
        image_BND = torch.where(drop_image_B[:, None, None], self.null_image_D, image_BND)
        x_BSD = torch.cat([text_BTD, image_BND.to(text_BTD.dtype)], 1)
        table_SP2 = self.rotary[: x_BSD.shape[1]]
        for block in self.encoder:
            qkv = block.attention.project(block.attention_norm(x_BSD), table_SP2)
            x_BSD = x_BSD + block.attention.merge(full_attention(*qkv))
            x_BSD = x_BSD + block.feed_forward(block.ffn_norm(x_BSD))
        encoded_BSD = self.encoder_norm(x_BSD)
        return [layer.cross.read(encoded_BSD, self.picture_table) for layer in self.layers]

    def decode(
        self, x_BLD: Tensor, start: int, attends: Sequence[Attend], reads: list[Read]
    ) -> Tensor:
        """Hidden states (B, L, D) of positions from `start` on, each layer with its self-attention."""
        table_LP2 = self.picture_table[start : start + x_BLD.shape[1]]
        for layer, attend, read in zip(self.layers, attends, reads, strict=True):
            x_BLD = layer(x_BLD, attend, read, table_LP2)
        return self.norm(x_BLD)

    def forward_train(
        self,
        text: Tensor,
        condition_codes: Tensor,
        target_codes: Tensor,
        drop_text: Tensor,
        drop_image: Tensor,
    ) -> Tensor:
        """Predict every target code from those before it: logits float32 (B, N, V).

        Args:
            text: encoder features (B, T, caption_dim).
            condition_codes: int64 (B, N), row-major.
            target_codes: int64 (B, N), row-major.
            drop_text: bool (B,), where the null text stands in.
            drop_image: bool (B,), where the null picture stands in.
        """
        reads = self.encode(text, condition_codes, drop_text, drop_image)
        codes_BMD = self.tok_embeddings(target_codes[:, :-1])
        start_B1D = self.start_D.expand(len(codes_BMD), 1, -1)
        x_BND = torch.cat([start_B1D, codes_BMD], 1)
        table_NP2 = self.rotary[-x_BND.shape[1] :]
        attends = [partial(layer.attention, table_LP2=table_NP2) for layer in self.layers]
        return self.output(self.decode(x_BND, 0, attends, reads)).float()

    @torch.inference_mode()
    def sample(
        self, text: Tensor, condition_codes: Tensor, settings: SamplerSettings, uniforms_BN: Tensor
    ) -> Tensor:
        """Make codes int64 (B, N), row-major; the model must be in eval mode.

        Args:
            text: encoder features (B, T, caption_dim).
            condition_codes: int64 (B, N), row-major.
            settings: guidance and filters.
            uniforms_BN: one random number a code (`models.editar.choosing.uniforms_for`).
        """
        reader = _Reader(self, text, condition_codes, 2 if settings.guidance > 1.0 else 1)
        return sample_codes(reader, self.config.block_size, settings, uniforms_BN)


class _Reader:
    """One batch of conditions on its way through the model; the encoder runs once."""

    def __init__(self, model: Parti, text: Tensor, condition_codes: Tensor, halves: int) -> None:
        self.model, self.halves, self.pictures = model, halves, len(text)
        null_R = torch.arange(halves, device=text.device).repeat(len(text)) == 1
        # The null half keeps the condition picture, as EditAR's does.
        text, condition_codes = (x.repeat_interleave(halves, 0) for x in (text, condition_codes))
        self.reads = model.encode(text, condition_codes, null_R, torch.zeros_like(null_R))
        length = model.config.block_size
        self.table_NP2 = model.rotary[-length:]
        self.caches = [Cache(layer.attention, len(null_R), length) for layer in model.layers]

    def first(self) -> Tensor:
        return self._read(self.model.start_D.expand(self.pictures, -1))

    def step(self, codes_B: Tensor, place: int) -> Tensor:
        return self._read(self.model.tok_embeddings(codes_B))

    def _read(self, x_BD: Tensor) -> Tensor:
        place = self.caches[0].filled
        table_1P2 = self.table_NP2[place : place + 1]
        attends = [partial(cache.attend, table_LP2=table_1P2) for cache in self.caches]
        x_R1D = x_BD.repeat_interleave(self.halves, 0)[:, None]
        logits_R1V = self.model.output(self.model.decode(x_R1D, place, attends, self.reads))
        return logits_R1V.float().view(self.pictures, self.halves, -1)
