"""Attention processors for a UNet of Stable Diffusion: rows of a batch that read each other, and changed probabilities.

R rows of the batch, H heads, P positions of the feature map, L tokens of the text, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor

Part = Literal["query", "key", "value"]
_ORDER = ("down", "mid", "up")  # in which the blocks run; the UNet lists them otherwise


@dataclass(frozen=True, slots=True)
class Layer:
    """An attention layer: its name in `unet.attn_processors` and its transformer block, counted as the UNet runs."""

    name: str
    block: int
    cross: bool


def attention_layers(unet: Any) -> list[Layer]:
    """All self- and cross-attention layers in the order in which the UNet runs them; Stable Diffusion has 16 blocks."""
    names = [name for place in _ORDER for name in unet.attn_processors if name.startswith(place)]
    selves = [name for name in names if name.endswith("attn1.processor")]
    blocks = {name.removesuffix("attn1.processor"): i for i, name in enumerate(selves)}
    return [
        Layer(name, blocks[name.rpartition("attn")[0]], name.endswith("attn2.processor"))
        for name in names
    ]


@contextmanager
def processors(unet: Any, changed: Mapping[str, Any]) -> Iterator[None]:
    """Use other processors for some layers of a UNet, by name, and put back those that were there."""
    before = unet.attn_processors
    unet.set_attn_processor({**before, **changed})  # empties the mapping it is given
    try:
        yield
    finally:
        unet.set_attn_processor({**before})


class SharedRows:
    """Self-attention whose rows take some of query, key and value from other rows.

    Args:
        rows: for each row of the batch, the row that it reads.
        parts: what it reads there; the rest is its own.
        active: called with the number of positions; where it says no, this is plain attention.
    """

    def __init__(
        self, rows: Sequence[int], parts: Sequence[Part], active: Callable[[int], bool]
    ) -> None:
        self.rows = list(rows)
        self.parts = frozenset(parts)
        self.active = active

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """Attention over `hidden_states` (R, P, W)."""
        assert encoder_hidden_states is None and attention_mask is None, "for self-attention only"
        made: dict[Part, Tensor] = {
            "query": attn.to_q(hidden_states),
            "key": attn.to_k(hidden_states),
            "value": attn.to_v(hidden_states),
        }
        if self.active(hidden_states.shape[1]):
            made |= {part: made[part][self.rows] for part in self.parts}
        query, key, value = (
            x.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for x in made.values()
        )
        out_RHPK = F.scaled_dot_product_attention(query, key, value, scale=attn.scale)
        return _project(attn, out_RHPK.transpose(1, 2).flatten(2))


class ChangedProbabilities:
    """Attention whose probabilities (R, H, P, L) pass through a function on their way to the values."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        self.change = change

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        """Attention of `hidden_states` (R, P, W) over `encoder_hidden_states` (R, L, width of the text)."""
        assert encoder_hidden_states is not None and attention_mask is None, "for captions only"
        query = attn.head_to_batch_dim(attn.to_q(hidden_states))
        key = attn.head_to_batch_dim(attn.to_k(encoder_hidden_states))
        value = attn.head_to_batch_dim(attn.to_v(encoder_hidden_states))
        probabilities = attn.get_attention_scores(query, key).unflatten(0, (-1, attn.heads))
        out = attn.batch_to_head_dim(self.change(probabilities).flatten(0, 1) @ value)
        return _project(attn, out)


def _project(attn: Any, out_RPW: Tensor) -> Tensor:
    projected: Tensor = attn.to_out[1](attn.to_out[0](out_RPW))
    return projected
