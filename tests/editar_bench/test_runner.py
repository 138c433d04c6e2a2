"""Runs on dummies: what is made, what is kept, what is counted, what is summed up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from editar_bench.errors import UserError
from editar_bench.parts import unpack_array
from editar_bench.pictures import picture_path, read_picture
from editar_bench.records import Aggregate
from editar_bench.report import read_rows
from editar_bench.runner import Summary
from editar_bench.statistics import mean_interval
from editar_bench.store import Reader
from editar_bench.types import Task
from tests.editar_bench import dummies as d

Run = Callable[..., Summary]


def number(summary: Summary, model: str, metric: str = "dummy_error", slice: str = "") -> Aggregate:
    found = [
        row
        for row in summary.aggregates
        if (row.model, row.metric, row.slice) == (model, metric, slice) and row.task == "depth"
    ]
    assert len(found) == 1
    return found[0]


def outputs(out: Path, where: str = "true") -> dict[tuple[str, int], str]:
    """(sample, repeat) -> picture hash of the finished pictures."""
    frame = Reader(out).frame(
        f"SELECT sample_id, repeat, picture_hash FROM output WHERE status = 'ok' AND {where}"
    )
    return {(r["sample_id"], r["repeat"]): r["picture_hash"] for r in frame.to_dict("records")}


def calls(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def test_values_are_those_of_the_pictures(run_dummies: Run, tmp_path: Path) -> None:
    summary = run_dummies("noisy")
    expected = []
    for (sample, _), name in outputs(tmp_path / "out").items():
        picture = read_picture(tmp_path / "out" / "pictures", name)
        if sample != "s03":
            expected.append(np.abs(picture.astype(int) - d.truth(int(sample[1:]))).mean())
    row = number(summary, "noisy")
    assert row.value == pytest.approx(np.mean(expected))
    assert (row.n, row.n_undefined, row.n_expected) == (9, 1, 10)
    assert row.ci_low is not None and row.ci_high is not None
    assert row.ci_low < row.value < row.ci_high
    assert not summary.problems


def test_the_leaderboard_shows_the_run(run_dummies: Run, tmp_path: Path) -> None:
    summary = run_dummies("noisy,codec,shuffled")
    frame = Reader(tmp_path / "out").leaderboard(metric="dummy_error")
    assert set(frame["model"]) == {"noisy", "codec", "shuffled"}
    assert set(frame["run_id"]) == {summary.run_id}
    assert set(frame["status"]) == {"ok"}
    cost = Reader(tmp_path / "out").leaderboard(metric="seconds_per_image")
    values = dict(zip(cost["model"], cost["value"], strict=True))
    assert values["noisy"] == pytest.approx(0.25)
    assert np.isnan(values["codec"])  # reference rows have no cost


def test_published_numbers_of_the_same_data_stand_in_the_store_and_not_in_the_report(
    run_dummies: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("editar_bench.published.REPORTED", "tests.editar_bench.dummies:reported")
    run_dummies("noisy")
    run_dummies("noisy")  # and only once, however often
    board = Reader(tmp_path / "out").leaderboard(kind="reported")
    assert board[["model", "metric", "value", "n", "reason"]].values.tolist() == [
        ["A paper's", "dummy_error", 1.5, 700, "its table 1"]
    ]
    assert {row["model"] for row in read_rows(tmp_path / "out", {})} == {"noisy"}


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


def test_slices_and_categories(run_dummies: Run, tmp_path: Path) -> None:
    run_dummies("noisy")
    frame = Reader(tmp_path / "out").slices(metric="dummy_error")
    counts = dict(zip(frame["slice"], frame["n"], strict=True))
    assert counts == {"even": 5, "odd": 4, "seen": 7, "unseen": 2}  # s03 is odd, seen, undefined


def test_slices_of_a_limited_run_are_partial(run_dummies: Run, tmp_path: Path) -> None:
    summary = run_dummies("noisy", limit=2)
    row = number(summary, "noisy", slice="seen")
    assert (row.n, row.n_expected) == (2, 8)
    assert set(Reader(tmp_path / "out").slices(metric="dummy_error")["status"]) == {"partial"}


def test_the_same_run_again_makes_nothing(
    run_dummies: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "calls.txt"
    monkeypatch.setenv("DUMMY_LOG", str(log))
    first = run_dummies("noisy")
    made = calls(log)
    second = run_dummies("noisy")
    assert len(made) == 3 and calls(log) == made  # 10 samples in batches of 4
    assert number(first, "noisy").value == number(second, "noisy").value
    run_dummies("noisy:strength=11")
    assert len(calls(log)) == 6  # other settings are another model
    run_dummies("noisy", seed=1)
    assert len(calls(log)) == 9  # another seed makes other pictures


def test_a_limit_does_not_change_the_company_of_a_sample(
    run_dummies: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "calls.txt"
    monkeypatch.setenv("DUMMY_LOG", str(log))
    row = number(run_dummies("noisy", limit=6), "noisy")
    assert (row.n, row.n_expected) == (5, 10)
    few = outputs(tmp_path / "out")
    assert len(few) == 6
    run_dummies("noisy")
    whole = outputs(tmp_path / "out")
    assert len(whole) == 10 and few.items() <= whole.items()
    full_batches = ["noisy s00 s01 s02 s03", "noisy s04 s05 s06 s07", "noisy s08 s09 s08 s09"]
    assert calls(log) == full_batches[:2] + full_batches[1:]


@pytest.mark.parametrize("batch_size", [1, 3, 10])
def test_pictures_do_not_depend_on_batches(
    run_dummies: Run, tmp_path: Path, batch_size: int
) -> None:
    run_dummies("noisy", repeats=2, batch_size=batch_size)
    made = outputs(tmp_path / "out")
    assert len(made) == 20
    for repeat in range(2):
        from editar_bench.seeds import seed_of

        for index in (0, 7):
            seed = seed_of(0, "depth", "dummy", f"s{index:02d}", repeat)
            expected = d.Noisy().picture(d.Split(Task.DEPTH)[index], seed)
            stored = read_picture(tmp_path / "out" / "pictures", made[f"s{index:02d}", repeat])
            np.testing.assert_array_equal(stored, expected)


def test_repeats_are_no_further_samples(run_dummies: Run) -> None:
    assert number(run_dummies("noisy", repeats=3), "noisy").n == 9


def test_unsupported_pairs_are_rows_with_the_reason(run_dummies: Run, tmp_path: Path) -> None:
    summary = run_dummies("only-edit,noisy", tasks=(Task.EDIT, Task.DEPTH))
    row = number(summary, "only-edit")
    assert (row.status, row.reason, row.value, row.n) == (
        "unsupported",
        "it was never shown a depth map",
        None,
        0,
    )
    frame = Reader(tmp_path / "out").leaderboard(model="only-edit", metric="dummy_error")
    assert dict(zip(frame["task"], frame["status"], strict=True)) == {
        "edit": "ok",
        "depth": "unsupported",
    }
    assert not summary.problems  # nothing has failed


def test_failing_samples_are_counted_and_not_averaged(run_dummies: Run, tmp_path: Path) -> None:
    summary = run_dummies("fragile,noisy")
    assert sorted(outputs(tmp_path / "out", "model = 'fragile'")) == [
        (f"s{i:02d}", 0) for i in range(10) if i not in (1, 6)
    ]
    row = number(summary, "fragile")
    assert (row.n, row.n_undefined, row.n_expected) == (7, 1, 10)
    assert row.reason == "2 failed, first: RuntimeError: cannot draw s01"
    frame = Reader(tmp_path / "out").leaderboard(model="fragile", metric="dummy_error")
    assert frame["status"].tolist() == ["partial"]
    assert any("2 of 10 pictures" in problem for problem in summary.problems)
    assert row.value is not None and row.value > 0


def test_models_that_cannot_be_loaded_do_not_stop_the_others(run_dummies: Run) -> None:
    summary = run_dummies("unloadable,corrupt,noisy")
    assert number(summary, "unloadable").status == "failed"
    assert "the weights do not fit" in number(summary, "unloadable").reason
    assert "wrong checksum" in number(summary, "corrupt").reason
    assert number(summary, "noisy").status == "ok"
    assert len(summary.problems) == 2


def test_plugins_that_break_in_their_own_ways_are_failed_rows(run_dummies: Run) -> None:
    summary = run_dummies("unready,float,noisy")
    unready, pictures = number(summary, "unready"), number(summary, "float")
    assert unready.status == pictures.status == "failed"
    assert "cannot be built (RuntimeError: no licence file)" in unready.reason
    assert (
        "10 failed, first: ValueError: the model returned a picture of float32" in pictures.reason
    )
    assert number(summary, "noisy").n == 9


def test_a_metric_that_breaks_while_it_scores_is_a_failed_row(
    run_dummies: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(d.DummyTask, "metrics", ("dummy_error", "unscoring"))
    for _ in range(2):  # also when all pictures are there already
        summary = run_dummies("noisy")
        row = number(summary, "noisy", "unscoring")
        assert (row.status, row.n) == ("failed", 0)
        assert row.reason == "NotImplementedError: no such operator"
        assert number(summary, "noisy").status == "ok"


def test_failures_of_other_runs_are_not_counted(run_dummies: Run) -> None:
    twice = number(run_dummies("second", repeats=2), "second")
    assert twice.reason.startswith("10 failed")
    assert number(run_dummies("second"), "second").reason == ""


def test_a_metric_that_cannot_be_used_is_a_failed_row(
    run_dummies: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(d.DummyTask, "metrics", ("dummy_error", "broken"))
    summary = run_dummies("noisy")
    row = number(summary, "noisy", "broken")
    assert (row.status, row.n) == ("failed", 0)
    assert "judge.safetensors is missing" in row.reason
    assert number(summary, "noisy").n == 9


def test_a_new_metric_version_is_scored_again_from_the_pictures(
    run_dummies: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "calls.txt"
    monkeypatch.setenv("DUMMY_LOG", str(log))
    run_dummies("noisy")
    made = calls(log)
    monkeypatch.setattr(d.DummyError, "info", replace(d.DummyError.info, version=2))
    monkeypatch.setattr(
        d.DummyError, "_one", lambda self, e, i: d.Score(metric="", protocol="", value=7.0)
    )
    assert number(run_dummies("noisy"), "noisy").value == 7
    assert calls(log) == made


def test_a_full_disk_ends_the_run_and_keeps_what_is_done(run_dummies: Run, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        run_dummies("full-disk")
    runs = Reader(tmp_path / "out").run_list()
    assert runs["status"].tolist() == ["failed"]
    assert sorted(outputs(tmp_path / "out")) == [(f"s{i:02d}", 0) for i in range(4)]


def test_a_full_disk_while_a_picture_is_written(
    run_dummies: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    def fail(*args: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", fail)
        with pytest.raises(UserError, match="No space left"):
            run_dummies("noisy")
    assert not list((tmp_path / "out" / "pictures").rglob("*.part"))
    assert number(run_dummies("noisy"), "noisy").n == 9


def test_killed_in_the_middle_and_run_again(plugin: dict[str, str], tmp_path: Path) -> None:
    out, log = tmp_path / "out", tmp_path / "calls.txt"
    command = [sys.executable, "-m", "editar_bench.cli", "run", "--task", "depth"]
    command += ["--dataset", "dummy", "--model", "slow", "--device", "cpu", "--out", str(out)]
    process = subprocess.Popen(
        command, env=plugin | {"DUMMY_SECONDS": "0.4"}, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while len(list((out / "parts" / "output").glob("[0-9]*.parquet"))) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = calls(log)
    assert 2 <= len(before) < 5
    again = subprocess.run(command, env=plugin, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    pairs = [f"slow s{i:02d} s{i + 1:02d}" for i in range(0, 10, 2)]
    repeated = set(before) & set(calls(log)[len(before) :])
    assert len(repeated) <= 1  # at most the batch that the kill interrupted before it was stored
    assert set(calls(log)) == set(pairs)
    assert len(outputs(out)) == 10
    rows = Reader(out).frame(
        "SELECT count(*) AS rows, count(DISTINCT sample_id) AS ids FROM output"
    )
    assert rows.values.tolist() == [[10, 10]]
    statuses = Reader(out).run_list()[["status", "reason"]].values.tolist()
    assert sorted(statuses) == [["failed", "interrupted"], ["finished", ""]]
    assert os.path.exists(picture_path(out / "pictures", outputs(out)["s00", 0]))


def test_a_metric_with_influences_has_the_interval_that_they_give(
    run_dummies: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        d.DummyBrightness, "influence", lambda self, x: (x - x.mean()).ravel(), raising=False
    )
    run_dummies("noisy")
    reader = Reader(tmp_path / "out")
    stored = reader.frame("SELECT * FROM observation ORDER BY output_id").to_dict("records")
    means = [unpack_array(bytes(r["data"]), r["shape"], r["dtype"])[0] for r in stored]
    expected = mean_interval(means)
    (row,) = reader.leaderboard(metric="dummy_brightness").to_dict("records")
    assert row["value"] == pytest.approx(expected.value)
    # The same draws of the same samples, in another order.
    assert row["ci_high"] - row["ci_low"] == pytest.approx(expected.high - expected.low, rel=0.1)
    slices = reader.slices(metric="dummy_brightness")
    assert slices["ci_low"].isna().all() and slices["value"].notna().all()
