"""Shape of EditAR's transformer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import isfinite, isqrt
from typing import Any, Self

from editar_bench.errors import UserError

# The published trainer's other names, and settings of it that this network does not read.
_ALSO = {
    "token_dropout_p": "token_dropout",
    "resid_dropout_p": "residual_dropout",
    "ffn_dropout_p": "ffn_dropout",
}
# Of training, or of other conditions: whatever they say, this network is the same.
_UNREAD = (
    "class_dropout_prob",  # superseded by the joint dropout of text and picture
    "distill_mode",
    "initializer_range",
    "max_batch_size",
    "max_seq_len",
    "num_classes",
)
# What they say otherwise makes another network.
_USUAL = {
    "attn_dropout_p": (0, None),
    "drop_path_rate": (0, None),
    "ffn_dim_multiplier": (None,),
    "model_mode": ("joint_cls_emb", None),
    "model_type": ("edit", "t2i"),  # EditAR's, and that of its base
}


def check_values(config: Any, what: str) -> None:
    """Refuse values of a configuration's fields that no network can be built of.

    Raises:
        UserError: one is of another type than the field, or not above 0.
    """
    for field in fields(config):
        value, kind = getattr(config, field.name), str(field.type)
        if kind == "bool":
            fine, wanted = isinstance(value, bool), "true or false"
        elif kind == "float":
            number = isinstance(value, int | float) and not isinstance(value, bool)
            fine, wanted = number and isfinite(value) and value >= 0, "a number, at least 0"
        elif kind == "int":
            fine, wanted = type(value) is int and value > 0, "a whole number above 0"
        else:
            whole = isinstance(value, tuple) and all(type(v) is int and v > 0 for v in value)
            fine, wanted = bool(value and whole), "a list of whole numbers above 0"
            fine = fine or (value is None and "None" in kind)
        if not fine:
            raise UserError(f"{what} config: {field.name} is {value!r}; it must be {wanted}")


def unknown_keys(
    what: str, unknown: Sequence[str], values: Mapping[str, Any], usual: Mapping[str, Any]
) -> UserError:
    """What is said of keys that a configuration does not have, or has in one value only."""
    names = ", ".join(name for name in unknown if name not in usual)
    if names:
        return UserError(f"{what} config: unknown keys {names}; remove them")
    told = ", ".join(f"{name} {values[name]!r}" for name in unknown)
    return UserError(
        f"{what} config: {told} makes another network than the released one, which alone is known here"
    )


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
        check_values(self, "transformer")
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
        """Read the `transformer` object of a config.json; keys left out take the released value.

        Of the published trainer's further keys those are read over that say what this network does anyway.
        """
        known = {_ALSO.get(k, k): value for k, value in values.items() if k not in _UNREAD}
        heads = known.get("n_head", TransformerConfig().n_head)
        for name, usual in (_USUAL | {"n_kv_head": (None, heads)}).items():
            if known.get(name) in usual:
                known.pop(name, None)
        unknown = sorted(set(known) - {field.name for field in fields(cls)})
        if unknown:
            raise unknown_keys("transformer", unknown, known, _USUAL | {"n_kv_head": ()})
        return cls(**known)
