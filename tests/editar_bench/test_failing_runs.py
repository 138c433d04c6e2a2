"""Runs on dummies: what fails, and what is kept all the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from editar_bench.errors import UserError
from editar_bench.pictures import picture_path
from editar_bench.store import Reader
from editar_bench.types import Generation
from tests.editar_bench import dummies as d
from tests.editar_bench.running import Run, calls, number, outputs


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


@pytest.mark.parametrize(
    ("cost", "words"),
    [
        ({"seconds": "fast"}, "returned 'fast' seconds"),
        ({"seconds": -1.0}, "returned -1.0 seconds"),
        ({"seconds": float("nan")}, "returned nan seconds"),
        ({"seconds": 1.0, "peak_memory_bytes": 10**30}, "bytes of memory"),
    ],
)
def test_costs_that_are_none_fail_the_model_alone(
    run_dummies: Run, monkeypatch: pytest.MonkeyPatch, cost: dict[str, Any], words: str
) -> None:
    def generate(self: d.Noisy, batch: Any, seeds: Any) -> list[Generation]:
        own = cost if self.name == "noisy" else {"seconds": 1.0}
        return [
            Generation(image=self.picture(e, s), **own) for e, s in zip(batch, seeds, strict=True)
        ]

    monkeypatch.setattr(d.Noisy, "generate", generate)
    summary = run_dummies("noisy,codec")
    assert words in number(summary, "noisy").reason
    assert number(summary, "codec").status == "ok"


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
