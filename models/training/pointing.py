"""A start for EditAR's attention: a few heads of the first layer look at the condition picture from the first step on.

Which place of the condition a target code should look at is pure geometry, the same for every sample, but a transformer
discovers it late: at random, the loss stayed that of a model without a condition for the first 8,000 pictures. Here the
rotary table's own angles are turned into queries and keys that meet at a given offset; training is free to change them.
Legend: V codes, D width, K head width, P = K/2 rotated pairs.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from models.editar.transformer import Transformer

SHARED = 0.5  # length of the direction that all code embeddings get in common; their own parts have about 0.25
SHARPNESS = 40.0  # squared length of a pair's query and key: a neighbor gets about a fortieth of the place's weight
_SLOWEST = 0.05  # radians a place; slower pairs hardly tell neighbors apart and only add noise


def heads_at_condition(side: int) -> dict[int, tuple[int, int]]:
    """Head → offset (rows, columns) from a code that was read back to the condition code it looks at.

    A position predicts the *next* code, one column on. Two heads look at that place of the condition, one at the place
    of the code just read, one below the next; the others start at random.
    """
    return {0: (side, side - 1), 1: (side, side - 1), 2: (side, side), 3: (side - 1, side - 1)}


@torch.no_grad()
def point(model: Transformer, heads: Mapping[int, tuple[int, int]]) -> None:
    """Make heads of the first layer attend to the position `offset` before their own, in place."""
    embeddings_VD = model.tok_embeddings.weight
    common_D = F.normalize(torch.randn_like(embeddings_VD[0]), dim=0)
    # Equal in all codes, so that a key's length, and with it its weight, does not depend on the code.
    embeddings_VD += SHARED * common_D - torch.outer(embeddings_VD @ common_D, common_D)
    # What the norm before the attention makes of the common part.
    length = SHARED / embeddings_VD.square().mean(1).sqrt().mean()
    width = model.config.head_dim
    queries, keys, _ = model.layers[0].attention.wqkv.weight.split(model.config.dim)
    for head, offset in heads.items():
        rows = slice(head * width, (head + 1) * width)
        query_K, key_K = (SHARPNESS**0.5 / length * x_P2.flatten() for x_P2 in _pair(model, offset))
        queries[rows] += torch.outer(query_K, common_D)
        keys[rows] += torch.outer(key_K, common_D)


def _pair(model: Transformer, offset: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Query and key, (P, 2) each and of unit pairs, that meet when their positions lie this far apart.

    One step's angles stand in the rotary table at the condition positions one row down and one column on.
    """
    angle_2P = model.rotary[[model.config.side, 1]].unbind(-1)
    angle_2P = torch.atan2(angle_2P[1], angle_2P[0])
    fast_P1 = (angle_2P.sum(0) > _SLOWEST).float()[:, None]
    turn_P = angle_2P.new_tensor(offset) @ angle_2P
    query_P2 = torch.stack([torch.ones_like(turn_P), torch.zeros_like(turn_P)], -1)
    return fast_P1 * query_P2, fast_P1 * torch.stack([turn_P.cos(), turn_P.sin()], -1)
