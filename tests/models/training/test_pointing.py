"""Heads that are pointed at the condition look there, whatever the codes are; the others stay as they were."""

from __future__ import annotations

import pytest
import torch

from models.editar.config import TransformerConfig
from models.editar.rotary import rotate
from models.editar.transformer import Transformer
from models.training.pointing import heads_at_condition, point

SIDE, TEXT = 6, 3
CONFIG = TransformerConfig(
    dim=96, n_layer=2, n_head=3, vocab_size=50, block_size=SIDE**2, cls_token_num=TEXT, caption_dim=8
)  # fmt: skip


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Transformer(CONFIG).eval()


@torch.no_grad()
def weights(model, codes):
    """Attention weights (H, L, L) of the first layer on condition codes, text of zeros, target codes."""
    text = torch.zeros(1, TEXT, CONFIG.dim)
    condition, target = (model.tok_embeddings(c)[None] for c in codes.split(SIDE**2))
    layer = model.layers[0]
    x = layer.attention_norm(torch.cat([condition, text, target], 1))
    qkv = layer.attention.wqkv(x).unflatten(-1, (3, CONFIG.n_head, CONFIG.head_dim))
    q, k, _ = qkv[0].permute(1, 2, 0, 3)
    scores = rotate(q, model.rotary) @ rotate(k, model.rotary).mT / CONFIG.head_dim**0.5
    future = torch.ones_like(scores, dtype=torch.bool).triu(1)
    return scores.masked_fill(future, -torch.inf).softmax(-1)


def place(row, column):
    return SIDE * row + column


def test_pointed_heads_find_their_place_in_the_condition(model):
    point(model, {0: (SIDE, SIDE - 1), 1: (SIDE - 1, SIDE)})
    first = SIDE**2 + TEXT
    seen = weights(model, torch.randint(50, (2 * SIDE**2,)))
    for row in range(SIDE - 1):
        for column in range(SIDE - 1):
            here = first + place(row, column)
            assert seen[0, here, place(row, column + 1)] > 0.5  # the next code's place
            assert seen[1, here, place(row + 1, column)] > 0.5  # the one below
            assert seen[2, here].max() < 0.2


def test_what_is_not_pointed_stays_random(model):
    before = {k: v.clone() for k, v in model.state_dict().items()}
    point(model, {1: (SIDE, SIDE)})
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"tok_embeddings.weight", "layers.0.attention.wqkv.weight"}
    rows = (model.layers[0].attention.wqkv.weight != before["layers.0.attention.wqkv.weight"]).any(
        1
    )
    head = CONFIG.head_dim
    expected = [*range(head, 2 * head), *range(CONFIG.dim + head, CONFIG.dim + 2 * head)]
    assert set(rows.nonzero()[:, 0].tolist()) <= set(expected)


def test_the_published_heads_look_at_the_next_place_itself_and_below():
    assert heads_at_condition(16) == {0: (16, 15), 1: (16, 15), 2: (16, 16), 3: (15, 15)}
