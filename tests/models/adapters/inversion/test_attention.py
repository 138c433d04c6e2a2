"""Attention processors against attention by hand, on one layer of diffusers and on a whole UNet."""

from __future__ import annotations

import pytest
import torch

from models.adapters.inversion.attention import (
    ChangedProbabilities,
    SharedRows,
    attention_layers,
    processors,
)

HEADS, POSITIONS, WIDTH, TOKENS = 2, 6, 8, 5


@pytest.fixture(scope="module")
def layer():
    from diffusers.models.attention_processor import Attention

    torch.manual_seed(0)
    return Attention(WIDTH, cross_attention_dim=None, heads=HEADS, dim_head=4).eval()


def by_hand(layer, queries, keys, values):
    """Attention of one row: (P, W) each; one head after the other."""
    q, k, v = layer.to_q(queries), layer.to_k(keys), layer.to_v(values)
    heads = []
    for head in range(HEADS):
        part = slice(4 * head, 4 * head + 4)
        weights = torch.softmax(q[:, part] @ k[:, part].T / 4**0.5, dim=-1)
        heads.append(weights @ v[:, part])
    return layer.to_out[0](torch.cat(heads, dim=-1))


@pytest.mark.parametrize(
    ("parts", "rows"),
    [
        (("key", "value"), (0, 0, 2, 2)),  # MasaCtrl
        (("query", "key"), (0, 1, 2, 2)),  # Prompt-to-Prompt
        (("query", "key"), (0, 0, 0, 0)),  # Plug-and-Play
    ],
)
def test_rows_read_what_they_are_told_to(layer, parts, rows):
    x = torch.randn(4, POSITIONS, WIDTH, generator=torch.manual_seed(1))
    layer.set_processor(SharedRows(rows, parts, lambda positions: positions == POSITIONS))
    made = layer(x)
    for own, read in enumerate(rows):
        from_row = {p: x[read] if p in parts else x[own] for p in ("query", "key", "value")}
        expected = by_hand(layer, from_row["query"], from_row["key"], from_row["value"])
        assert torch.allclose(made[own], expected, atol=1e-6)


def test_inactive_is_plain_attention(layer):
    x = torch.randn(4, POSITIONS, WIDTH, generator=torch.manual_seed(2))
    layer.set_processor(SharedRows((0, 0, 0, 0), ("key",), lambda positions: False))
    made = layer(x)
    for row in range(4):
        assert torch.allclose(made[row], by_hand(layer, x[row], x[row], x[row]), atol=1e-6)


def test_probabilities_pass_through_the_function(layer):
    x = torch.randn(2, POSITIONS, WIDTH, generator=torch.manual_seed(3))
    text = torch.randn(2, TOKENS, WIDTH, generator=torch.manual_seed(4))
    seen = []

    def first_token_only(probabilities):
        seen.append(probabilities)
        return torch.eye(TOKENS)[0].expand_as(probabilities)

    layer.set_processor(ChangedProbabilities(lambda probabilities: probabilities))
    plain = layer(x, encoder_hidden_states=text)
    layer.set_processor(ChangedProbabilities(first_token_only))
    changed = layer(x, encoder_hidden_states=text)
    for row in range(2):
        assert torch.allclose(plain[row], by_hand(layer, x[row], text[row], text[row]), atol=1e-6)
        only = layer.to_out[0](layer.to_v(text[row, :1])).expand(POSITIONS, -1)
        assert torch.allclose(changed[row], only, atol=1e-6)
    assert seen[0].shape == (2, HEADS, POSITIONS, TOKENS)
    assert torch.allclose(seen[0].sum(-1), torch.ones(2, HEADS, POSITIONS))


def test_layers_are_counted_as_the_network_runs(pipeline, sampler):
    unet = pipeline.unet
    layers = attention_layers(unet)
    assert [layer.block for layer in layers] == [i // 2 for i in range(32)]  # 16 blocks of two
    assert [layer.cross for layer in layers] == [False, True] * 16
    ran = []
    hooks = [
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
        for name, module in unet.named_modules()
        if name.endswith(("attn1", "attn2"))
    ]
    sampler.noise(torch.zeros(1, 4, 8, 8), 1, sampler.embed([""]))
    for hook in hooks:
        hook.remove()
    assert ran == [layer.name.removesuffix(".processor") for layer in layers]


def test_processors_are_put_back(pipeline):
    unet = pipeline.unet
    before = dict(unet.attn_processors)
    name = attention_layers(unet)[0].name
    other = SharedRows((0,), (), lambda positions: False)
    with pytest.raises(RuntimeError, match="stop"), processors(unet, {name: other}):
        assert unet.attn_processors[name] is other
        raise RuntimeError("stop")
    assert unet.attn_processors == before
