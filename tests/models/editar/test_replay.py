"""The shell around a captured pass, with a pass that is a Python function."""

from __future__ import annotations

import pytest
import torch

from models.editar import replay
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
