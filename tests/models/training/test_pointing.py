"""Heads that are pointed at the condition look there, whatever the codes are; the others stay as they were."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch

from models.compact.muse import Muse
from models.compact.parti import Parti, PartiConfig
from models.compact.var import Var, VarConfig
from models.editar.config import TransformerConfig
from models.editar.rotary import rotate
from models.editar.transformer import Transformer
from models.training.pointing import heads_at_condition, heads_at_same_place, point, point_across

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


@torch.no_grad()
def test_pointed_heads_of_a_cross_attention_find_their_place_and_leave_the_text_alone():
    torch.manual_seed(0)
    config = PartiConfig(**asdict(CONFIG) | {"n_layer": 1}, encoder_layers=1)
    model = Parti(config).eval()
    point_across(model, {0: (0, 0), 1: (-1, -1)})
    keep = torch.zeros(1, dtype=torch.bool)
    codes = torch.randint(50, (1, SIDE**2))
    read = model.encode(torch.randn(1, TEXT, 8), codes, keep, keep)[0]
    cross = model.layers[0].cross
    # Values and output that show the attention's weights.
    read = read._replace(values_BHSK=torch.eye(TEXT + SIDE**2).expand(1, 3, -1, -1))
    cross.wo = torch.nn.Identity()
    asked = cross(
        model.layers[0].cross_norm(model.tok_embeddings(codes)), read, model.picture_table
    )
    seen = asked.unflatten(-1, (3, -1))[0].transpose(0, 1)
    for row in range(SIDE - 1):
        for column in range(SIDE - 1):
            here = place(row, column)
            assert seen[0, here, TEXT + here] > 0.5
            assert seen[1, here, TEXT + place(row + 1, column + 1)] > 0.5
            assert seen[2, here].max() < 0.2
    assert seen[:2, :, :TEXT].max() < 1e-3


def first_layer(model, target_BLD):
    """Attention weights (H, L, prefix + L) of the first layer's target positions, whatever their groups."""
    keep = torch.zeros(1, dtype=torch.bool)
    codes = torch.randint(50, (1, SIDE**2))
    keys, _ = model.read_prefix(torch.randn(1, TEXT, 8), codes, keep, keep)[0]
    layer = model.layers[0]
    table = model.rotary[SIDE**2 + TEXT :]
    q, k, _ = layer.attention.project(layer.attention_norm(target_BLD), table)
    scores = q @ torch.cat([keys, k], 2).mT / CONFIG.head_dim**0.5
    return scores.softmax(-1)[0]


@torch.no_grad()
def test_pointed_heads_of_a_masked_model_look_at_the_place_itself():
    torch.manual_seed(0)
    model = Muse(CONFIG).eval()
    point(model, {0: (SIDE, SIDE), 1: (SIDE - 1, SIDE)})
    masks = torch.full((1, SIDE**2), model.mask_code)
    seen = first_layer(model, model.tok_embeddings(masks))
    for row in range(SIDE - 1):
        for column in range(SIDE):
            here = place(row, column)
            assert seen[0, here, here] > 0.5
            assert seen[1, here, place(row + 1, column)] > 0.5


@torch.no_grad()
def test_pointed_heads_of_a_pyramid_look_at_the_middle_of_their_cells():
    starts = []
    for seed in range(8):  # what codes have of their own shifts single weights about
        torch.manual_seed(seed)
        model = Var(VarConfig(**asdict(CONFIG), scales=(1, 3, SIDE), code_dim=4)).eval()
        point(model, {0: (SIDE, SIDE)}, [model.levels.weight])
        numbers = 0.3 * torch.randn(1, 1 + 9 + SIDE**2, 8)  # as large as codecs have them
        read = enumerate(numbers.split(model.config.sizes, 1))
        inputs = [model.features(x) + model.levels.weight[k] for k, x in read]
        starts.append(first_layer(model, torch.cat(inputs, 1))[0])
    seen = torch.stack(starts).mean(0)
    middle = [place(r, c) for r in (2, 3) for c in (2, 3)]
    assert seen[0, middle].sum() > 0.5 and seen[0, middle].min() > 0.1
    for row in range(3):
        for column in range(3):
            corner = [place(2 * row + r, 2 * column + c) for r in (0, 1) for c in (0, 1)]
            assert seen[1 + 3 * row + column, corner].sum() > 0.5
    for here in range(SIDE**2):
        assert seen[10 + here, here] > 0.5


def test_heads_of_codes_that_predict_themselves():
    assert heads_at_same_place(16) == {0: (16, 16), 1: (16, 16), 2: (16, 15), 3: (15, 16)}
