"""Weights and caches of few bits: how close they stay, and that they are what is read."""

from __future__ import annotations

import pytest
import torch

from models.editar.decoding import Decoder
from models.editar.precision import Precision, quantize, rounded_to_float8, to_float8
from models.editar.sampler import SamplerSettings, sample, uniforms_for
from tests.models.editar.test_sampler import tiny, tiny_inputs


@pytest.mark.parametrize(("kind", "relative"), [("int8", 0.5 / 127), ("fp8", 2.0**-4)])
def test_weights_are_within_half_a_unit(kind, relative):
    weight = torch.randn(20, 64) * torch.logspace(-3, 2, 20)[:, None]
    few = quantize(weight, kind)
    assert few.values_NM.element_size() == 1 and few.scales_N.shape == (20,)
    again = few.dequantized(torch.float32)
    error = (again - weight).abs()
    unit = weight.abs().amax(1, keepdim=True) if kind == "int8" else weight.abs()
    assert (error <= relative * unit + weight.abs().amax(1, keepdim=True) * 2.0**-17).all()
    assert error.max() > 0


def test_a_row_of_zeros_stays_one():
    weight = torch.zeros(2, 8)
    weight[1] = 1.0
    for kind in ("int8", "fp8"):
        assert torch.equal(quantize(weight, kind).dequantized(torch.float32), weight)


def test_what_is_too_large_for_float8_becomes_the_largest():
    x = torch.tensor([1.0, -3.0, 1e6, -1e6])
    scale = torch.tensor(0.01)
    assert to_float8(x, scale).float().tolist()[2:] == [448.0, -448.0]
    rounded = rounded_to_float8(x, scale)
    torch.testing.assert_close(rounded[:2], x[:2], rtol=2.0**-4, atol=0)
    assert rounded.isfinite().all()


@pytest.mark.parametrize(
    "precision",
    [
        Precision(weights="int8"),
        Precision(weights="fp8"),
        Precision(cache="fp8"),
        Precision(weights="int8", cache="fp8"),
    ],
)
@torch.inference_mode()
def test_steps_use_them_and_stay_close(precision):
    model = tiny(vocab_size=50, side=4)
    text, codes = tiny_inputs(model, 3)
    places = torch.arange(15).expand(3, -1)

    def logits(chosen):
        decoder = Decoder(model, 3, 2, chosen)
        first = decoder.prefill(text, codes)
        rest = decoder.step(codes[:, :-1], places, decoder.layout.filled(15))
        return first, rest

    first, exact = logits(Precision())
    same, rough = logits(precision)
    assert torch.equal(first, same)  # the prefill has the model's own weights
    error = (rough - exact).abs().mean() / exact.std()
    assert 1e-4 < error < 0.15  # of a model whose weights are ten times as large as trained ones


def test_rounded_weights_follow_a_change_in_place():
    model = tiny(vocab_size=50, side=4)
    text, codes = tiny_inputs(model, 1)
    args = (text, codes, SamplerSettings(guidance=2.0, top_k=0), uniforms_for([1], 16))
    precision = Precision(weights="int8")
    sample(model, *args, precision)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.4)
    changed = sample(model, *args, precision)
    model.load_state_dict({k: v.clone() for k, v in model.state_dict().items()}, assign=True)
    assert torch.equal(changed, sample(model, *args, precision))
