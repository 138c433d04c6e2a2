"""Runs on dummies: which reference rows a gap is measured by, and which pictures a cost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from editar_bench.runner import Summary
from editar_bench.types import Task
from tests.editar_bench import dummies as d
from tests.editar_bench.running import Run, number


def test_gap_closed_goes_from_shuffled_to_codec(run_dummies: Run) -> None:
    summary = run_dummies("noisy,codec,shuffled")
    model, ceiling, floor = (number(summary, name) for name in ("noisy", "codec", "shuffled"))
    assert model.value is not None and floor.value is not None and ceiling.value is not None
    expected = (model.value - floor.value) / (ceiling.value - floor.value)
    assert model.gap_closed == pytest.approx(expected)
    assert number(summary, "codec").gap_closed == pytest.approx(1)
    assert number(summary, "shuffled").gap_closed == pytest.approx(0)
    assert model.gap_low is not None and model.gap_high is not None
    assert model.gap_low <= model.gap_closed <= model.gap_high
    assert number(summary, "noisy", "dummy_brightness").gap_closed is None  # its floor is "none"


def test_reference_rows_of_an_earlier_run_serve_for_the_gap(run_dummies: Run) -> None:
    together = run_dummies("noisy,codec,shuffled")
    alone = run_dummies("noisy")
    assert number(alone, "noisy").gap_closed == pytest.approx(number(together, "noisy").gap_closed)


def no_gap(summary: Summary, model: str = "noisy") -> str:
    """Why the model has no gap; a gap fails the test."""
    row = number(summary, model)
    assert (row.gap_closed, row.gap_low, row.gap_high) == (None, None, None)
    return row.gap_reason


def test_reference_rows_of_other_weights_do_not_serve(
    run_dummies: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dummies("codec,shuffled")
    monkeypatch.setattr(d.Codec, "fingerprint", {"codec.safetensors": "trained longer"})
    reason = no_gap(run_dummies("noisy"))
    assert reason == "no pictures of 'codec' by the present weights on this data; run it"
    assert run_dummies("noisy,codec").aggregates[0].gap_reason == ""
    assert number(run_dummies("noisy"), "noisy").gap_closed is not None


def test_reference_rows_of_other_data_do_not_serve(
    run_dummies: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dummies("codec,shuffled")
    monkeypatch.setattr(d.DummyTask, "fingerprint", lambda self: "data-2")
    assert "no pictures of 'shuffled'" in no_gap(run_dummies("noisy,codec"))


def test_a_model_is_not_measured_against_another_codec_than_its_own(
    run_dummies: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(d.Noisy, "fingerprint", {"codec.safetensors": "old", "net": "1"})
    monkeypatch.setattr(d.Codec, "fingerprint", {"codec.safetensors": "new"})
    summary = run_dummies("noisy,codec,shuffled")
    assert "other weights than this model's" in no_gap(summary)
    assert number(summary, "codec").gap_closed == pytest.approx(1)
    monkeypatch.setattr(d.Codec, "fingerprint", {"codec.safetensors": "old"})
    assert number(run_dummies("noisy,codec,shuffled"), "noisy").gap_closed is not None


def test_the_ceiling_is_the_row_that_the_model_names(
    run_dummies: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(d.OnlyEdit, "ceiling", "codec-kl", raising=False)
    summary = run_dummies("only-edit,codec,shuffled", tasks=(Task.EDIT,))
    mine = [r for r in summary.aggregates if r.model == "only-edit" and r.metric == "dummy_error"]
    assert mine[0].value is not None and mine[0].gap_closed is None
    assert "'codec-kl'" in mine[0].gap_reason


def elsewhere(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """From here on pictures are made on another, slower machine."""
    monkeypatch.setattr("editar_bench.provenance.machine", lambda device: "an old laptop")
    generate = d.Base.generate

    def slow(self, batch, seeds):  # type: ignore[no-untyped-def]
        return [replace(made, seconds=seconds) for made in generate(self, batch, seeds)]

    monkeypatch.setattr(d.Base, "generate", slow)


def test_a_cost_never_mixes_machines(run_dummies: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    here = number(run_dummies("noisy", limit=6), "noisy", "seconds_per_image")
    assert (here.value, here.n) == (0.25, 6)
    assert "cores" in here.reason and "batches of 4" in here.reason
    elsewhere(monkeypatch, 9.0)
    both = number(run_dummies("noisy"), "noisy", "seconds_per_image")
    assert (both.value, both.n, both.n_undefined) == (0.25, 6, 0)
    assert both.reason == f"{here.reason}; without 4 pictures made elsewhere"
    assert number(run_dummies("noisy"), "noisy").n == 9  # values that are no cost have them all
    memory = number(run_dummies("noisy"), "noisy", "peak_memory")
    assert memory.n == 6


def test_of_two_equal_places_the_newest_gives_the_cost(
    run_dummies: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dummies("noisy", limit=5)
    elsewhere(monkeypatch, 9.0)
    row = number(run_dummies("noisy"), "noisy", "seconds_per_image")
    assert (row.value, row.n) == (9.0, 5)
    assert row.reason.startswith("on an old laptop (cpu), batches of 4; without 5")


def test_a_cost_never_mixes_batch_sizes(run_dummies: Run) -> None:
    run_dummies("noisy", limit=2, batch_size=1)
    row = number(run_dummies("noisy"), "noisy", "seconds_per_image")
    assert row.n == 8 and "batches of 4; without 2" in row.reason


def test_the_interval_of_a_cost_is_that_of_its_batches(
    run_dummies: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([1.0, 3.0, 1.0])  # of the batches; the last one has two of the ten samples
    generate = d.Base.generate

    def timed(self, batch, seeds):  # type: ignore[no-untyped-def]
        seconds = next(times)
        return [replace(made, seconds=seconds) for made in generate(self, batch, seeds)]

    monkeypatch.setattr(d.Base, "generate", timed)
    row = number(run_dummies("noisy"), "noisy", "seconds_per_image")
    assert (row.value, row.n) == (pytest.approx(1.8), 10)
    # Batches move the mean by -0.32, 0.48 and -0.16: three draws of the first, or of the second.
    assert (row.ci_low, row.ci_high) == pytest.approx((1.8 - 0.96, 1.8 + 1.44))
