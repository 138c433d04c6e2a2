"""Runs on dummies: what is made, what is kept, what is counted, what is summed up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from editar_bench.parts import unpack_array
from editar_bench.pictures import picture_path, read_picture
from editar_bench.report import read_rows
from editar_bench.statistics import mean_interval
from editar_bench.store import Reader
from editar_bench.types import Task
from tests.editar_bench import dummies as d
from tests.editar_bench.running import Run, calls, number, outputs


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


def test_a_lost_picture_is_made_again_when_a_metric_needs_it(
    run_dummies: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "calls.txt"
    monkeypatch.setenv("DUMMY_LOG", str(log))
    first = number(run_dummies("noisy"), "noisy")
    made = calls(log)
    folder, names = tmp_path / "out" / "pictures", list(outputs(tmp_path / "out").values())
    lost, cut = picture_path(folder, names[0]), picture_path(folder, names[-1])
    lost.unlink()
    cut.write_bytes(cut.read_bytes()[:-1])
    assert number(run_dummies("noisy"), "noisy").value == first.value
    assert calls(log) == made and not lost.exists()  # all values are known
    monkeypatch.setattr(d.DummyError, "info", replace(d.DummyError.info, version=2))
    again = number(run_dummies("noisy"), "noisy")
    assert (again.value, again.n) == (first.value, first.n)
    assert lost.exists() and len(calls(log)) == len(made) + 2  # the batches that they were in
    assert read_picture(folder, names[-1]).shape == (d.SIZE, d.SIZE, 3)


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
