"""Attention in blocks of rows against torch's own, values and gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from models.editar import causal
from models.editar.causal import causal_attention


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
    monkeypatch.setattr(causal, "_block", lambda *_: pytest.fail("blocks are for training"))
    x = torch.randn(1, 2, 5, 4)
    with torch.no_grad():
        assert causal_attention(x, x, x).shape == x.shape
