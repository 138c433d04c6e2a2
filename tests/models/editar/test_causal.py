"""Attention in blocks of rows against torch's own, values and gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from models.editar import causal
from models.editar.causal import causal_attention, full_attention


@pytest.mark.parametrize("length", [1, 7, 8, 9, 24, 29])
def test_blocks_equal_the_whole(length, monkeypatch):
    monkeypatch.setattr(causal, "_ROWS", 8)
    generator = torch.Generator().manual_seed(length)
    inputs = [
        torch.randn(2, 3, length, 4, generator=generator, dtype=torch.float64) for _ in range(4)
    ]
    results = []
    for attend in (
        causal_attention,
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
    ):
        q, k, v = (x.clone().requires_grad_() for x in inputs[:3])
        y = attend(q, k, v)
        y.backward(inputs[3])
        results.append([y.detach(), q.grad, k.grad, v.grad])
    for ours, theirs in zip(*results, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-12)


def test_without_gradients_the_fused_kernel_is_used(monkeypatch):
    monkeypatch.setattr(causal, "_attend", lambda *_: pytest.fail("blocks are for training"))
    x = torch.randn(1, 2, 5, 4)
    with torch.no_grad():
        assert causal_attention(x, x, x).shape == x.shape


@pytest.mark.parametrize("training", [True, False])
def test_hidden_keys_have_no_weight_for_anyone(training, monkeypatch):
    monkeypatch.setattr(causal, "_ROWS", 4)
    q, k, v = torch.randn(3, 2, 3, 9, 4, generator=torch.Generator().manual_seed(0)).unbind()
    seen = torch.ones(2, 9, dtype=torch.bool)
    seen[1, :3] = False
    with torch.set_grad_enabled(training):
        y = causal_attention(q, k, v, seen)
        assert y.isfinite().all()
        whole = causal_attention(q[:1], k[:1], v[:1])
        rest = causal_attention(q[1:, :, 3:], k[1:, :, 3:], v[1:, :, 3:])
    assert torch.allclose(y[:1], whole, atol=1e-6)
    assert torch.allclose(y[1:, :, 3:], rest, atol=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_full_attention_equals_the_fused_kernel(training):
    q, k, v = (torch.randn(2, 3, length, 4) for length in (5, 9, 9))
    with torch.set_grad_enabled(training):
        ours = full_attention(q, k, v)
    assert torch.allclose(ours, F.scaled_dot_product_attention(q, k, v), atol=1e-6)
