"""Shape of EditAR's transformer, and the published sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import isqrt
from typing import Any, Self

from editar_bench.errors import UserError

SIZES = {  # name: (layers, heads, width); EditAR's released weights are GPT-XL
    "GPT-B": (12, 12, 768),
    "GPT-L": (24, 16, 1024),
    "GPT-XL": (36, 20, 1280),
    "GPT-XXL": (48, 24, 1536),
    "GPT-XXXL": (48, 40, 2560),
    "GPT-1B": (22, 32, 2048),
    "GPT-3B": (24, 32, 3200),
    "GPT-7B": (32, 32, 4096),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerConfig:
    """Everything the transformer needs to be built; the defaults are the released model."""

    dim: int = 1280
    n_layer: int = 36
    n_head: int = 20
    vocab_size: int = 16384
    block_size: int = 1024  # codes a picture
    cls_token_num: int = 120  # text slots
    caption_dim: int = 2048  # width of the text encoder's features
    multiple_of: int = 256  # the feed-forward width is rounded up to it
    rope_base: float = 10000.0
    norm_eps: float = 1e-5
    token_dropout: float = 0.1  # on projected text only
    residual_dropout: float = 0.1
    ffn_dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.side**2 != self.block_size:
            raise UserError(
                f"transformer config: block_size {self.block_size} is no square; "
                "it must be the number of codes of a square picture"
            )
        if self.dim % self.n_head or self.head_dim % 4:
            raise UserError(
                f"transformer config: dim {self.dim} over n_head {self.n_head} must give a head "
                "width that is a multiple of 4; change dim or n_head"
            )

    @property
    def side(self) -> int:
        """Codes along one side of a picture."""
        return isqrt(self.block_size)

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.dim // self.n_head

    @property
    def ffn_dim(self) -> int:
        """Hidden width of the feed-forward block: two thirds of four times dim, rounded up."""
        hidden = int(2 * 4 * self.dim / 3)
        return -(-hidden // self.multiple_of) * self.multiple_of

    @property
    def prefix_length(self) -> int:
        """Positions before the first target code: condition codes and text."""
        return self.block_size + self.cls_token_num

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read the `transformer` object of a config.json; keys left out take the released value."""
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        if unknown:
            raise UserError(f"transformer config: unknown keys {', '.join(unknown)}; remove them")
        return cls(**values)

    @classmethod
    def preset(cls, name: str, **changes: Any) -> TransformerConfig:
        """A published size by name, with other fields changed if wanted."""
        layers, heads, width = SIZES[name]
        return cls(**{"n_layer": layers, "n_head": heads, "dim": width, **changes})
