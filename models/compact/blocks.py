"""What Muse and VAR share: condition codes and text as a prefix, in front of a target that is read in groups.

EditAR's blocks and prefix, with two differences that models without causal order allow: the prefix sees itself wholly,
and text, which the rotary table leaves unturned, is looked up by what it says. The prefix never sees the target, so its
keys and values are made once a picture, in training as in decoding.

B batch, L positions read now, M positions read before, D width, H heads, K head width, P = K/2 rotated pairs, N codes
of a condition, T text slots, V codebook.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from models.editar.causal import full_attention
from models.editar.config import TransformerConfig
from models.editar.rotary import turns
from models.editar.transformer import Block, CaptionEmbedder, RMSNorm, RotaryNetwork, initialize

KeysValues = list[tuple[Tensor, Tensor]]  # of every layer, (B, H, M, K) each


class PrefixNetwork(RotaryNetwork):
    """Embeddings, blocks and head; subclasses say what the target positions read and where they stand."""

    def __init__(self, config: TransformerConfig, specials: int) -> None:
        """`specials` rows of the embedding come after the codebook; the last of them is the null picture's code."""
        super().__init__()
        self.config = config
        self.null_code = config.vocab_size + specials - 1
        self.cls_embedding = CaptionEmbedder(config)
        self.tok_embeddings = nn.Embedding(config.vocab_size + specials, config.dim)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.norm = RMSNorm(config.dim, config.norm_eps)
        self.output = nn.Linear(config.dim, config.vocab_size, bias=False)
        self.register_buffer("rotary", self._table(), persistent=False)
        self.apply(initialize)
        nn.init.zeros_(self.output.weight)

    def _places(self) -> tuple[Tensor, Tensor]:
        """Rows and columns of the target positions, on the grid whose top-left block is the condition."""
        raise NotImplementedError

    def _table(self) -> Tensor:
        """Turns of condition, text (none) and target: float32 (N + T + target positions, P, 2)."""
        c = self.config
        rows_N, columns_N = cells(c.side, c.side)
        nowhere_T = torch.zeros(c.cls_token_num)
        rows_L, columns_L = self._places()
        rows = torch.cat([rows_N, nowhere_T, c.side + rows_L])
        columns = torch.cat([columns_N, nowhere_T, c.side + columns_L])
        return turns(rows, columns, c.head_dim, c.rope_base)

    def read_prefix(
        self, text: Tensor, condition_codes: Tensor, drop_text_B: Tensor, drop_image_B: Tensor
    ) -> KeysValues:
        """Keys and values of condition picture and text.

        Args:
            text: encoder features (B, T, caption_dim).
            condition_codes: int64 (B, N), row-major.
            drop_text_B: bool, where the null text stands in.
            drop_image_B: bool, where the null picture stands in.
        """
        codes_BN = condition_codes.masked_fill(drop_image_B[:, None], self.null_code)
        image_BND = self.tok_embeddings(codes_BN)
        text_BTD = self.cls_embedding(text, drop_text_B)
        x_BLD = torch.cat([image_BND, text_BTD.to(image_BND.dtype)], 1)
        table_LP2 = self.rotary[: self.config.prefix_length]
        seen: KeysValues = []
        for layer in self.layers:
            q, k, v = layer.attention.project(layer.attention_norm(x_BLD), table_LP2)
            seen.append((k, v))
            if len(seen) < len(self.layers):  # nobody reads what the prefix becomes after the last
                x_BLD = x_BLD + layer.attention.merge(full_attention(q, k, v))
                x_BLD = x_BLD + layer.feed_forward(layer.ffn_norm(x_BLD))
        return seen

    def read(
        self, x_BLD: Tensor, start: int, seen: KeysValues, groups: Sequence[int]
    ) -> tuple[Tensor, KeysValues]:
        """Read target positions; each sees what was seen before, its own group and the groups before.

        Args:
            x_BLD: input vectors.
            start: which target position the first of them is.
            seen: keys and values of the prefix and of the target positions before `start`.
            groups: sizes of the groups, L together.

        Returns:
            Hidden states (B, L, D) after the final norm, and all keys and values so far.
        """
        start += self.config.prefix_length
        table_LP2 = self.rotary[start : start + x_BLD.shape[1]]
        kept: KeysValues = []
        for layer, (keys, values) in zip(self.layers, seen, strict=True):
            q, k, v = layer.attention.project(layer.attention_norm(x_BLD), table_LP2)
            kept.append((torch.cat([keys, k], 2), torch.cat([values, v], 2)))
            x_BLD = x_BLD + layer.attention.merge(_in_groups(q, *kept[-1], groups))
            x_BLD = x_BLD + layer.feed_forward(layer.ffn_norm(x_BLD))
        return self.norm(x_BLD), kept


def cells(side: int, finest: int) -> tuple[Tensor, Tensor]:
    """Rows and columns of the centers of side² cells, row-major, in units of a grid of finest² cells: float32."""
    centers = (torch.arange(side).float() + 0.5) * (finest / side) - 0.5
    return centers.repeat_interleave(side), centers.repeat(side)


def guidance_halves(text: Tensor, condition_codes: Tensor, guidance: float) -> tuple[Tensor, ...]:
    """What `read_prefix` takes to read every picture twice in turn, with its text and with the null text.

    Both keep the condition picture, as in EditAR. Guidance of 1 or less needs the first half only.
    """
    halves = 2 if guidance > 1.0 else 1
    rows = len(text) * halves
    null_R = torch.arange(rows, device=text.device) % 2 == 1 if halves == 2 else None
    keep_R = torch.zeros(rows, dtype=torch.bool, device=text.device)
    return (
        text.repeat_interleave(halves, 0),
        condition_codes.repeat_interleave(halves, 0),
        keep_R if null_R is None else null_R,
        keep_R,
    )


def _in_groups(q_BHLK: Tensor, k_BHAK: Tensor, v_BHAK: Tensor, groups: Sequence[int]) -> Tensor:
    """Attention of each group's queries to the keys up to the group's end; A = M + L."""
    before = k_BHAK.shape[2] - q_BHLK.shape[2]
    ends = [0]
    for size in groups:
        ends.append(ends[-1] + size)
    parts = [
        full_attention(
            q_BHLK[:, :, first:end], k_BHAK[:, :, : before + end], v_BHAK[:, :, : before + end]
        )
        for first, end in pairwise(ends)
    ]
    return torch.cat(parts, 2)
