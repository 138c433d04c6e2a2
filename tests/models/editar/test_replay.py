"""The shell around a captured pass, with a pass that is a Python function."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from models.editar import replay
from models.editar.decoding import Decoder
from models.editar.passes import Passes
from models.editar.precision import Precision
from models.editar.replay import repeat_until
from models.editar.sampler import SamplerSettings, passes_for, sample, uniforms_for
from tests.models.editar.test_sampler import tiny, tiny_inputs


@pytest.mark.parametrize("lag", [0, 1, 2, 5])
@pytest.mark.parametrize("speed", [1, 4])
def test_it_stops_a_few_passes_late_and_never_early(monkeypatch, lag, speed):
    monkeypatch.setattr(replay, "LAG", lag)
    number = torch.tensor(1)
    done = []

    def once():
        number.add_(speed)
        done.append(int(number))

    passes = repeat_until(once, number, 13)
    needed = 12 // speed
    assert passes == len(done) == needed + lag
    assert done[-1] >= 13


@pytest.mark.parametrize("guidance", [1.0, 2.5])
@pytest.mark.parametrize("batch", [1, 3])
def test_blind_passes_make_the_same_codes(monkeypatch, guidance, batch):
    """What a GPU does: every pass looks at the whole cache, and some are begun in vain."""
    model = tiny(vocab_size=50, side=5)
    text, codes = tiny_inputs(model, batch)
    settings = SamplerSettings(guidance=guidance, temperature=1.3, top_k=20)
    uniforms = uniforms_for(range(batch), 25)
    expected = sample(model, text, codes, settings, uniforms)
    monkeypatch.setattr("models.editar.passes.captured", lambda once: once)
    monkeypatch.setattr(Passes, "finish", Passes.finish_blindly)
    assert torch.equal(sample(model, text, codes, settings, uniforms), expected)
    # Again, from the captured pass and the tensors of the call before.
    other = codes.flip(1)
    again = sample(model, text, other, settings, uniforms)
    monkeypatch.undo()
    assert torch.equal(again, sample(model, text, other, settings, uniforms))
    assert passes_for(model, batch, settings, Precision()).replay is not None


@pytest.mark.skipif(
    not (torch.cuda.is_available() or hasattr(torch._C, "_ensureCUDADeviceGuardSet")),
    reason="torch 2.8 cannot pretend to have a GPU",
)
@pytest.mark.parametrize(
    ("precision", "settings"),
    [
        (Precision(), SamplerSettings(top_k=20)),
        (Precision("int8", "fp8"), SamplerSettings(top_p=0.9, cfg_interval=5)),
    ],
)
def test_a_pass_is_all_on_the_gpu_and_waits_for_nothing(precision, settings):
    """With tensors that have a device and no numbers: none may be read, and none be on the CPU."""
    with torch.device("meta"):
        model = tiny(vocab_size=50, side=3)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        model.to_empty(device="cuda:0")
        text, codes = (x.to("cuda:0") for x in tiny_inputs(model, 2))
        passes = Passes(Decoder(model, 2, 2, precision, fused=False), model, settings)
        passes.start(text, codes, torch.rand(codes.shape))
        passes.advance_blindly()
        assert passes.least.device.type == passes.codes_BX.device.type == "cuda"


def test_a_pass_is_captured_on_the_gpu_that_is_current(monkeypatch):
    """The stream that torch.cuda.graph makes itself is of the first GPU for as long as the process lives."""
    stream = SimpleNamespace(wait_stream=lambda other: None)
    on = []
    monkeypatch.setattr(torch.cuda, "Stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: SimpleNamespace(replay=None))
    monkeypatch.setattr(
        torch.cuda, "graph", lambda graph, stream=None: on.append(stream) or nullcontext()
    )
    replay.captured(lambda: None)
    assert on == [stream]


def test_a_picture_is_made_with_its_gpu_as_the_current_one(monkeypatch):
    """Kernels, streams and events are of the current GPU, whatever device their tensors are on."""
    model = tiny()
    text, codes = tiny_inputs(model, 1)
    on = []
    monkeypatch.setattr(torch.cuda, "device_of", lambda x: on.append(x) or nullcontext())
    sample(model, text, codes, SamplerSettings(greedy=True))
    assert on == [codes]
