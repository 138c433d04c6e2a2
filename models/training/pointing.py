"""A start for EditAR's attention: a few heads of the first layer look at the condition picture from the first step on.

Which place of the condition a target code should look at is pure geometry, the same for every sample, but a transformer
discovers it late: at random, the loss stayed that of a model without a condition for the first 8,000 pictures. Here the
rotary table's own angles are turned into queries and keys that meet at a given offset; training is free to change them.
Legend: V codes, D width, K head width, P = K/2 rotated pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from models.compact.blocks import PrefixNetwork
from models.compact.parti import Parti
from models.editar.transformer import Transformer

SHARED = 0.5  # length of the direction that all code embeddings get in common; their own parts have about 0.25
SHARPNESS = 40.0  # squared length of a pair's query and key: a neighbor gets about a fortieth of the place's weight
_SLOWEST = 0.05  # radians a place; slower pairs hardly tell neighbors apart and only add noise

# Parti: one cross-attention head at the place that is predicted, one each right of it and below; the fourth is random.
POINTED_ACROSS = {0: (0, 0), 1: (0, -1), 2: (-1, 0)}


def heads_at_condition(side: int) -> dict[int, tuple[int, int]]:
    """Head → offset (rows, columns) from a code that was read back to the condition code it looks at.

    A position predicts the *next* code, one column on. Two heads look at that place of the condition, one at the place
    of the code just read, one below the next; the others start at random.
    """
    return {0: (side, side - 1), 1: (side, side - 1), 2: (side, side), 3: (side - 1, side - 1)}


def heads_at_same_place(side: int) -> dict[int, tuple[int, int]]:
    """The same for models whose positions predict their own codes: two heads at the place, one each right and below."""
    return {0: (side, side), 1: (side, side), 2: (side, side - 1), 3: (side - 1, side)}


@torch.no_grad()
def point(
    model: Transformer | PrefixNetwork,
    heads: Mapping[int, tuple[int, int]],
    others: Sequence[Tensor] = (),
) -> None:
    """Make heads of the first layer attend to the position `offset` before their own, in place.

    `others` are tables (rows, D) of vectors that targets read in the place of code embeddings.
    """
    embeddings_VD = model.tok_embeddings.weight
    common_D = F.normalize(torch.randn_like(embeddings_VD[0]), dim=0)
    # Equal in all codes, so that a key's length, and with it its weight, does not depend on the code.
    for table_VD in (embeddings_VD, *others):
        table_VD += SHARED * common_D - torch.outer(table_VD @ common_D, common_D)
    # What the norm before the attention makes of the common part.
    length = SHARED / embeddings_VD.square().mean(1).sqrt().mean()
    width = model.config.head_dim
    queries, keys, _ = model.layers[0].attention.wqkv.weight.split(model.config.dim)
    steps_2P2 = model.rotary[[model.config.side, 1]]
    for head, offset in heads.items():
        rows = slice(head * width, (head + 1) * width)
        query_K, key_K = (x_K / length for x_K in _pair(steps_2P2, offset))
        queries[rows] += torch.outer(query_K, common_D)
        keys[rows] += torch.outer(key_K, common_D)


@torch.no_grad()
def point_across(model: Parti, heads: Mapping[int, tuple[int, int]]) -> None:
    """Make heads of the first cross-attention attend to the place `offset` before the predicted one's, in place."""
    steps_2P2 = model.picture_table[[model.config.side, 1]]
    cross = model.layers[0].cross
    for head, offset in heads.items():
        cross.place_query_HK[head], cross.place_key_HK[head] = _pair(steps_2P2, offset)


def _pair(steps_2P2: Tensor, offset: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Query and key (K,) that meet when their positions lie this far apart.

    `steps_2P2` are the rotary table's entries of one row down and of one column on.
    """
    angle_2P = torch.atan2(steps_2P2[..., 1], steps_2P2[..., 0])
    fast_P1 = SHARPNESS**0.5 * (angle_2P.sum(0) > _SLOWEST).float()[:, None]
    turn_P = angle_2P.new_tensor(offset) @ angle_2P
    query_P2 = torch.stack([torch.ones_like(turn_P), torch.zeros_like(turn_P)], -1)
    key_P2 = torch.stack([turn_P.cos(), turn_P.sin()], -1)
    return (fast_P1 * query_P2).flatten(), (fast_P1 * key_P2).flatten()
