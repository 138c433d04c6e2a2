"""EditAR's transformer (arXiv 2501.04699): condition codes, text, target codes in one sequence.

Module names and shapes follow the released `editar_release.pt`, whose base is LlamaGen (arXiv
2406.06525).

B batch, L positions, D width, H heads, K head width, N codes a picture, T text slots, V codes in
the codebook.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models.editar.causal import causal_attention
from models.editar.config import TransformerConfig
from models.editar.inputs import check_codes, check_text
from models.editar.rotary import rotary_table, rotate


class RMSNorm(nn.Module):
    """Scales a vector to unit mean square, in float32, then by a learned weight."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize over the last axis; the dtype of x is kept until the weight."""
        wide = x.float()
        scaled = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return scaled.type_as(x) * self.weight


class Attention(nn.Module):
    """Causal multi-head attention with rotary positions."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.n_head, self.head_dim = config.n_head, config.head_dim
        self.wqkv = nn.Linear(config.dim, 3 * config.dim, bias=False)
        self.wo = nn.Linear(config.dim, config.dim, bias=False)
        self.resid_dropout = nn.Dropout(config.residual_dropout)

    def forward(self, x_BLD: Tensor, table_LP2: Tensor, seen_BL: Tensor | None = None) -> Tensor:
        """Attend from every position to itself and all before it that may be seen at all (`seen_BL`, bool)."""
        qkv_BHLK = self.project(x_BLD, table_LP2)
        return self.merge(causal_attention(*qkv_BHLK, seen_BL, self.training))

    def project(self, x_BLD: Tensor, table_LP2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (B, H, L, K), the first two rotated."""
        qkv = self.wqkv(x_BLD).unflatten(-1, (3, self.n_head, self.head_dim))
        q_BHLK, k_BHLK, v_BHLK = qkv.permute(2, 0, 3, 1, 4)
        return rotate(q_BHLK, table_LP2), rotate(k_BHLK, table_LP2), v_BHLK

    def merge(self, y_BHLK: Tensor) -> Tensor:
        """What the heads found, as one vector (B, L, D) a position."""
        return self.resid_dropout(self.wo(y_BHLK.transpose(1, 2).flatten(2)))


class FeedForward(nn.Module):
    """SwiGLU: w2(silu(w1 x) · w3 x)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.w1 = nn.Linear(config.dim, config.ffn_dim, bias=False)
        self.w3 = nn.Linear(config.dim, config.ffn_dim, bias=False)
        self.w2 = nn.Linear(config.ffn_dim, config.dim, bias=False)
        self.ffn_dropout = nn.Dropout(config.ffn_dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, L, D) to the same shape."""
        return self.ffn_dropout(self.w2(F.silu(self.w1(x)) * self.w3(x)))


class Block(nn.Module):
    """Pre-norm attention and feed-forward, each with a residual branch."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.feed_forward = FeedForward(config)
        self.attention_norm = RMSNorm(config.dim, config.norm_eps)
        self.ffn_norm = RMSNorm(config.dim, config.norm_eps)

    def forward(self, x_BLD: Tensor, table_LP2: Tensor, seen_BL: Tensor | None = None) -> Tensor:
        """One layer over the whole sequence; of `seen_BL` (bool) are the positions that may be seen at all."""
        x_BLD = x_BLD + self.attention(self.attention_norm(x_BLD), table_LP2, seen_BL)
        return x_BLD + self.feed_forward(self.ffn_norm(x_BLD))


class CaptionProjection(nn.Module):
    """Text features to the transformer's width."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.caption_dim, config.dim, bias=False)
        self.fc2 = nn.Linear(config.dim, config.dim, bias=False)

    def forward(self, text: Tensor) -> Tensor:
        """Map (B, T, caption_dim) to (B, T, D)."""
        return self.fc2(F.gelu(self.fc1(text), approximate="tanh"))


class CaptionEmbedder(nn.Module):
    """Projects text features; a dropped text becomes, before that, a fixed random one."""

    uncond_embedding: Tensor

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.cap_proj = CaptionProjection(config)
        # A buffer, never trained: weights files carry it, and it must come from there.
        null = torch.randn(config.cls_token_num, config.caption_dim) / config.caption_dim**0.5
        self.register_buffer("uncond_embedding", null)

    def forward(self, text: Tensor, drop_B: Tensor) -> Tensor:
        """Embed (B, T, caption_dim), with the null text where `drop_B` (bool) is set."""
        text = text.to(self.uncond_embedding.dtype)
        return self.cap_proj(torch.where(drop_B[:, None, None], self.uncond_embedding, text))


class RotaryNetwork(nn.Module):
    """A network with a rotary table that weights files do not carry and that casts do not round."""

    rotary: Tensor

    def _table(self) -> Tensor:
        raise NotImplementedError

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        device = self.rotary.device
        self.reset_rotary()  # a cast of the model must not round the table's angles
        self.rotary = self.rotary.to(device)
        return self

    def reset_rotary(self) -> None:
        """Make the rotary table anew, in float32 on the CPU."""
        self.rotary = self._table()


class Transformer(RotaryNetwork):
    """Predicts the codes of the target picture from condition codes and text."""

    img_uncond_embedding: Tensor
    recompute = (
        False  # in training: keep the input of each layer only, and run it again on the way back
    )

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.cls_embedding = CaptionEmbedder(config)
        self.tok_embeddings = nn.Embedding(config.vocab_size, config.dim)
        self.tok_dropout = nn.Dropout(config.token_dropout)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.norm = RMSNorm(config.dim, config.norm_eps)
        self.output = nn.Linear(config.dim, config.vocab_size, bias=False)
        # The null picture; a buffer for the same reason as the null text.
        null = torch.randn(config.block_size, config.dim) / config.dim**0.5
        self.register_buffer("img_uncond_embedding", null)
        self.register_buffer("rotary", self._table(), persistent=False)
        self.apply(initialize)
        nn.init.zeros_(self.output.weight)

    def _table(self) -> Tensor:
        c = self.config
        return rotary_table(c.side, c.cls_token_num, c.head_dim, c.rope_base)

    def embed_prefix(
        self, text: Tensor, condition_codes: Tensor, drop_text_B: Tensor, drop_image_B: Tensor
    ) -> Tensor:
        """The first N + T input vectors: condition picture, then text, (B, N + T, D)."""
        image_BND = self.tok_embeddings(condition_codes)
        image_BND = torch.where(
            drop_image_B[:, None, None], self.img_uncond_embedding.to(image_BND), image_BND
        )
        text_BTD = self.tok_dropout(self.cls_embedding(text, drop_text_B))
        return torch.cat([image_BND, text_BTD.to(image_BND.dtype)], 1)

    def hidden(self, x_BLD: Tensor) -> Tensor:
        """Run all layers and the final norm on the input vectors of the first L positions."""
        table_LP2 = self.rotary[: x_BLD.shape[1]]
        for layer in self.layers:
            if self.recompute and self.training:
                x_BLD = checkpoint(layer, x_BLD, table_LP2, use_reentrant=False)
            else:
                x_BLD = layer(x_BLD, table_LP2)
        return self.norm(x_BLD)

    def forward_train(
        self,
        text: Tensor,
        condition_codes: Tensor,
        target_codes: Tensor,
        drop_text: Tensor,
        drop_image: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Predict every target code from those before it.

        Args:
            text: encoder features (B, T, caption_dim).
            condition_codes: int64 (B, N), row-major.
            target_codes: int64 (B, N), row-major.
            drop_text: bool (B,), where the null text stands in.
            drop_image: bool (B,), where the null picture stands in.

        Returns:
            Logits float32 (B, N, V), and the hidden states (B, N, D) they came from.
        """
        c = self.config
        text = check_text(text, c.cls_token_num, c.caption_dim)
        for codes in (condition_codes, target_codes):
            check_codes(codes, "transformer", c.vocab_size, (len(text), c.block_size))
        prefix_BLD = self.embed_prefix(text, condition_codes, drop_text, drop_image)
        # The last target code is predicted, never read.
        target_BMD = self.tok_embeddings(target_codes[:, :-1]).to(prefix_BLD.dtype)
        hidden_BLD = self.hidden(torch.cat([prefix_BLD, target_BMD], 1))
        hidden_BND = hidden_BLD[:, self.config.prefix_length - 1 :]
        return self.output(hidden_BND).float(), hidden_BND

    def training_logits(
        self, text: Tensor, condition_codes: Tensor, target_codes: Tensor
    ) -> Tensor:
        """Teacher-forced logits float32 (B, N, V) with nothing dropped; arguments as above."""
        keep_B = torch.zeros(len(text), dtype=torch.bool, device=text.device)
        return self.forward_train(text, condition_codes, target_codes, keep_B, keep_B)[0]

    def generate(
        self,
        text: Tensor,
        condition_codes: Tensor,
        guidance: float = 3.0,
        greedy: bool = True,
        temperature: float = 1.0,
        top_k: int = 1000,
        top_p: float = 1.0,
        uniforms: Tensor | None = None,
        cfg_interval: int = -1,
        drop_image: Tensor | None = None,
    ) -> Tensor:
        """Make target codes int64 (B, N); see `models.editar.sampler.sample`."""
        from models.editar.sampler import SamplerSettings, sample

        settings = SamplerSettings(
            guidance=guidance,
            greedy=greedy,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            cfg_interval=cfg_interval,
        )
        # A copy: tensors of inference mode cannot be part of a graph, and codes may be trained on.
        made_BN = sample(self, text, condition_codes, settings, uniforms, drop_image_B=drop_image)
        return made_BN.clone()


def joint_dropout(batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Which conditions to drop in training: (drop_text, drop_image), bool (B,), on the CPU.

    One number a sample decides both: 5 % lose both, 5 % only the picture, 5 % only the text.
    """
    r_B = torch.rand(batch, generator=generator)
    return (r_B < 0.05) | (r_B > 0.95), r_B < 0.10


def initialize(module: nn.Module) -> None:
    """The start of matrices and embeddings: normal, of standard deviation 0.02."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
