"""The prefix and the groups behind it are one sequence under one mask; places, null picture and null text."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from models.compact.blocks import cells, guidance_halves
from models.editar.rotary import rotary_table
from tests.models.compact.conftest import CONFIG, COUNT, SLOTS, enliven, fresh_muse, fresh_var

PREFIX = COUNT + SLOTS


@pytest.mark.parametrize(
    ("model", "groups"),
    [(fresh_muse(), [COUNT]), (fresh_var(), [1, 4, COUNT])],
    ids=["muse", "var"],
)
@pytest.mark.parametrize("training", [False, True])
def test_one_sequence_under_one_mask(model, groups, training, conditions):
    enliven(model)
    length = sum(groups)
    x_BLD = torch.randn(3, length, CONFIG.dim)
    with torch.set_grad_enabled(training):
        prefix = model.read_prefix(*conditions, conditions.keep)
        got, seen = model.read(x_BLD, 0, prefix, groups)
    level = torch.cat(
        [torch.zeros(PREFIX)] + [torch.full((n,), k + 1.0) for k, n in enumerate(groups)]
    )
    mask = level[:, None] >= level
    x = torch.cat(
        [model.tok_embeddings(conditions.codes), model.cls_embedding(*conditions[::2])], 1
    )
    x = torch.cat([x, x_BLD], 1)
    for layer, (keys, _) in zip(model.layers, seen, strict=True):
        q, k, v = layer.attention.project(layer.attention_norm(x), model.rotary)
        assert torch.allclose(keys, k, atol=1e-4)  # of size 10
        y = F.scaled_dot_product_attention(q, k, v, mask)
        x = x + layer.attention.merge(y)
        x = x + layer.feed_forward(layer.ffn_norm(x))
    assert torch.allclose(got, model.norm(x)[:, PREFIX:], atol=1e-4)


def test_the_table_is_editars_but_for_unturned_text():
    model = fresh_muse()
    table = rotary_table(CONFIG.side, SLOTS, CONFIG.head_dim, CONFIG.rope_base)
    text = slice(COUNT, PREFIX)
    assert torch.allclose(model.rotary[:COUNT], table[:COUNT])
    assert torch.allclose(model.rotary[PREFIX:], table[PREFIX:])
    assert (model.rotary[text] == torch.tensor([1.0, 0.0])).all()


def test_places_of_coarse_scales_are_centers_of_cells():
    rows, columns = cells(2, 16)
    assert rows.tolist() == [3.5, 3.5, 11.5, 11.5]
    assert columns.tolist() == [3.5, 11.5, 3.5, 11.5]
    assert [float(x) for x in cells(1, 16)] == [7.5, 7.5]
    assert cells(16, 16)[0].tolist() == [float(i // 16) for i in range(256)]


@torch.no_grad()
def test_what_is_dropped_is_not_seen(conditions):
    model = enliven(fresh_muse())
    other = conditions._replace(text=conditions.text.flip(0), codes=conditions.codes.flip(0))
    drop = torch.tensor([True, True, False])

    def values(c, no_text, no_image):
        return model.read_prefix(c.text, c.codes, no_text, no_image)[-1][1]

    nothing = values(conditions, drop, drop)
    assert torch.equal(values(other, drop, drop)[:2], nothing[:2])
    assert not torch.allclose(values(other, drop, drop)[2], nothing[2])
    for case in ((drop, conditions.keep), (conditions.keep, drop)):
        assert not torch.allclose(values(other, *case)[:2], values(conditions, *case)[:2])


def test_halves_stand_side_by_side_and_only_where_there_is_guidance(conditions):
    text, codes, null_text, null_image = guidance_halves(conditions.text, conditions.codes, 2.0)
    assert torch.equal(text[0::2], conditions.text) and torch.equal(text[1::2], conditions.text)
    assert torch.equal(codes[0::2], conditions.codes) and torch.equal(codes[1::2], conditions.codes)
    assert null_text.tolist() == [False, True] * 3
    assert not null_image.any()
    text, _, null_text, _ = guidance_halves(conditions.text, conditions.codes, 1.0)
    assert torch.equal(text, conditions.text)
    assert not null_text.any()
