"""Plug-and-Play: the target's features are the source's, where and when they should be."""

from __future__ import annotations

import pytest
import torch

from models.adapters.inversion.attention import attention_layers
from models.adapters.inversion.plug_and_play import Injection, inject
from models.adapters.inversion.sampler import Sampler
from tests.models.adapters.inversion.conftest import SIDE, SOURCE, TARGET

STEPS = 5


@pytest.fixture
def short(pipeline):
    return Sampler(pipeline, "cpu", STEPS, guidance=7.5)


@pytest.fixture
def path(short):
    start = torch.randn(1, 4, SIDE // 2, SIDE // 2, generator=torch.manual_seed(0))
    return short.resample(start, short.embed([SOURCE]))


def edited(sampler, path, texts, features, attention):
    return inject(sampler, path, sampler.embed(texts), Injection(features, attention))


def test_full_injection_with_the_sources_caption_gives_the_source(short, path):
    made = edited(short, path, [SOURCE] * 3, STEPS, STEPS)
    assert torch.allclose(made, path[0], atol=1e-4)


def test_both_kinds_of_injection_change_the_target(short, path):
    texts = ["", "ugly", TARGET]
    free = edited(short, path, texts, 0, 0)
    features = edited(short, path, texts, STEPS, 0)
    attention = edited(short, path, texts, 0, STEPS)
    for one, other in ((free, features), (free, attention), (features, attention)):
        assert not torch.allclose(one, other, atol=1e-2)


def test_without_injection_it_is_guided_sampling(short, path):
    null, text = short.embed(["ugly", TARGET]).split(1)
    latents = path[-1]
    for time in short.times:
        latents = short.step(short.guided_noise(latents, time, null, text), time, latents)
    assert torch.allclose(edited(short, path, ["", "ugly", TARGET], 0, 0), latents, atol=1e-4)


def test_features_and_attention_are_taken_over_at_their_steps(short):
    injection = Injection(features_until=2, attention_until=1)
    unet = short.unet
    features = []
    rows = torch.randn(3, 4, SIDE // 2, SIDE // 2, generator=torch.manual_seed(1))
    texts = short.embed(["", "ugly", TARGET])
    before = dict(unet.attn_processors)
    with injection.attached(unet):
        hook = (
            unet.up_blocks[1]
            .resnets[1]
            .conv2.register_forward_hook(lambda module, arguments, made: features.append(made))
        )
        for injection.step in range(3):
            short.noise(rows, 500, texts)
        hook.remove()
        shared = [n for n, p in unet.attn_processors.items() if p is not before[n]]
    equal = [torch.equal(f[0], f[1]) and torch.equal(f[0], f[2]) for f in features]
    assert equal == [True, True, False]
    selves = [layer.name for layer in attention_layers(unet) if not layer.cross]
    assert shared == selves[8:]  # decoder blocks 4 to 11 of the paper: all but the first
    active = []
    for injection.step in range(3):
        active.append(injection._attention(16))
    assert active == [True, False, False]


def test_nothing_is_left_in_the_network(short, path):
    unet = short.unet
    before = dict(unet.attn_processors)
    with pytest.raises(RuntimeError, match="stop"), Injection(1, 1).attached(unet):
        raise RuntimeError("stop")
    assert unet.attn_processors == before
    assert not unet.up_blocks[1].resnets[1].conv2._forward_hooks
