"""MasaCtrl: keys and values of the source, from a step and a layer on (by hand: `test_attention`)."""

from __future__ import annotations

import pytest
import torch

from editar_bench.errors import UserError
from models.adapters.inversion.attention import SharedRows, attention_layers
from models.adapters.inversion.masactrl import MutualSelfAttention
from models.adapters.inversion.sampler import Sampler
from tests.models.adapters.inversion.conftest import SIDE, TARGET
from tests.models.adapters.inversion.test_sampler import Watching

STEPS = 5


@pytest.fixture
def short(pipeline):
    return Sampler(pipeline, "cpu", STEPS, guidance=7.5)


@pytest.fixture(scope="module")
def start():
    return torch.randn(1, 4, SIDE // 2, SIDE // 2, generator=torch.manual_seed(0))


def edited(sampler, start, control, captions=("", TARGET)):
    texts = sampler.embed(list(captions))
    with control.attached(sampler.unet):
        return sampler.denoise(start, [texts[:1]] * STEPS, texts, control)


def test_the_right_layers_share_keys_and_values(pipeline):
    control = MutualSelfAttention(start_step=4, start_layer=10)
    unet = pipeline.unet
    before = dict(unet.attn_processors)
    with control.attached(unet):
        changed = {n: p for n, p in unet.attn_processors.items() if p is not before[n]}
    selves = [layer for layer in attention_layers(unet) if not layer.cross]
    assert list(changed) == [layer.name for layer in selves[10:]]
    assert all(name.startswith(("up_blocks.2", "up_blocks.3")) for name in changed)
    (shared,) = set(changed.values())
    assert isinstance(shared, SharedRows)
    assert shared.parts == {"key", "value"} and shared.rows == [0, 0, 2, 2]
    active = []
    for step in (0, 3, 4, 49):
        control.before(step)
        active.append(shared.active(64))
    assert active == [False, False, True, True]
    assert unet.attn_processors == before


def test_the_source_stays_and_the_target_follows_it(short, start):
    texts = short.embed(["", TARGET])
    free = short.denoise(start, [texts[:1]] * STEPS, texts, Watching())
    held = edited(short, start, MutualSelfAttention(0, 0))
    assert torch.allclose(held[0], free[0], atol=1e-3)
    assert not torch.allclose(held[1], free[1], atol=1e-2)
    late = edited(short, start, MutualSelfAttention(STEPS, 0))
    assert torch.allclose(late, free, atol=1e-3)


def test_equal_captions_give_the_source(short, start):
    source, target = edited(short, start, MutualSelfAttention(1, 10), ("", ""))
    assert torch.allclose(target, source, atol=1e-4)


def test_a_layer_that_is_not_there_is_one_sentence(pipeline):
    with pytest.raises(UserError, match="start_layer is 16, but the network has 16 layers"):
        MutualSelfAttention(4, 16).attached(pipeline.unet)
