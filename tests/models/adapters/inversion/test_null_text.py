"""Optimized null texts bring the guided sampler back to the source."""

from __future__ import annotations

import pytest
import torch

from models.adapters.inversion import null_text
from models.adapters.inversion.sampler import Sampler
from tests.models.adapters.inversion.conftest import SIDE, SOURCE
from tests.models.adapters.inversion.test_sampler import Watching

STEPS = 2


@pytest.fixture
def short(pipeline):
    return Sampler(pipeline, "cpu", STEPS, guidance=7.5)


@pytest.fixture
def inverted(short):
    """Null text, source text and the source's path."""
    null, text = short.embed(["", SOURCE]).split(1)
    clean = torch.randn(1, 4, SIDE // 2, SIDE // 2, generator=torch.manual_seed(3))
    return null, text, short.invert(clean, text)


def error(sampler, path, nulls, text):
    return float((sampler.denoise(path[-1], nulls, text, Watching()) - path[0]).square().mean())


def test_the_source_comes_back(short, inverted):
    null, text, path = inverted
    nulls = null_text.optimized_nulls(short, path, null, text)
    assert len(nulls) == STEPS and all(n.shape == null.shape for n in nulls)
    assert error(short, path, nulls, text) < 0.5 * error(short, path, [null] * STEPS, text)
    assert not any(p.requires_grad for p in short.unet.parameters())
    assert not any(n.requires_grad for n in nulls)


def test_constants_are_the_published_ones():
    assert null_text.INNER_STEPS == 10
    assert [null_text.learning_rate(i) for i in (0, 10, 49)] == pytest.approx([0.01, 0.009, 0.0051])
    assert [null_text.close_enough(i) for i in (0, 10)] == pytest.approx([1e-5, 21e-5])


@pytest.mark.parametrize(("enough", "tries"), [(0.0, 10), (1e9, 1)])
def test_it_stops_early_and_at_ten(short, inverted, monkeypatch, enough, tries):
    null, text, path = inverted
    monkeypatch.setattr(null_text, "close_enough", lambda step: enough)
    calls = []
    noise = short.noise
    monkeypatch.setattr(
        short, "noise", lambda *a: calls.append(torch.is_grad_enabled()) or noise(*a)
    )
    null_text.optimized_nulls(short, path, null, text)
    assert calls.count(True) == tries * STEPS
    assert calls.count(False) == 2 * STEPS  # with the caption before, guided after


def test_each_step_begins_where_the_last_one_ended(short, inverted, monkeypatch):
    null, text, path = inverted
    monkeypatch.setattr(null_text, "learning_rate", lambda step: 0.01 if step == 0 else 0.0)
    nulls = null_text.optimized_nulls(short, path, null, text)
    assert not torch.equal(nulls[0], null)
    assert all(torch.equal(n, nulls[0]) for n in nulls[1:])
