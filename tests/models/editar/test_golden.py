"""Parity with recorded inputs and outputs of the published code."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F


@torch.no_grad()
def test_codes_are_exact(codec, golden):
    assert torch.equal(codec.encode(golden["vq"]["image"]), golden["vq"]["codes"])


@torch.no_grad()
def test_quantized_features(codec, golden):
    features = codec.quantized(golden["vq"]["codes"])
    torch.testing.assert_close(features, golden["vq"]["latents"], atol=1e-6, rtol=0)


@torch.no_grad()
def test_decoded_pixels(codec, golden):
    decoded = codec.decode(golden["vq"]["codes"])
    torch.testing.assert_close(decoded, golden["vq"]["decoded"], atol=1e-4, rtol=0)


@torch.no_grad()
def test_training_logits_and_loss(transformer, golden):
    io = golden["transformer"]
    logits = transformer.training_logits(io["text"], io["condition_codes"], io["target_codes"])
    torch.testing.assert_close(logits, io["train_logits"], atol=1e-4, rtol=0)
    loss = F.cross_entropy(logits.flatten(0, 1), io["target_codes"].flatten())
    torch.testing.assert_close(loss, io["train_loss"][0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_greedy_sequences_are_exact(transformer, golden, guidance):
    io = golden["transformer"]
    codes = transformer.generate(io["text"], io["condition_codes"], guidance=guidance, greedy=True)
    assert torch.equal(codes, io[f"greedy_cfg{guidance:.0f}"])
