"""`editar-bench compare` on stores of dummy models: which samples count, what is corrected, what is refused."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from editar_bench.compare import Compared, compare
from editar_bench.compare_report import as_csv, markdown
from editar_bench.errors import UserError
from editar_bench.paired import holm
from editar_bench.registry import METRICS
from editar_bench.runner import Summary
from editar_bench.seeds import seed_of
from editar_bench.store import Aggregate, Reader, RunRecord, Store
from editar_bench.types import Task
from tests.editar_bench import dummies as d
from tests.editar_bench.calling import call
from tests.editar_bench.conftest import register_dummies, run_models

Run = Callable[..., Summary]
WORSE = "noisy:strength=60"


def compared(out: Path, a: str, b: str, **options: object) -> list[Compared]:
    return compare(Reader(out), a, b, **options)  # type: ignore[arg-type]


def error_of(strength: int, index: int, repeat: int = 0, run_seed: int = 0) -> float:
    """The dummy metric's value of a noisy picture, worked out from its seed."""
    seed = seed_of(run_seed, "depth", "dummy", f"s{index:02d}", repeat)
    noise = np.random.default_rng(seed).integers(0, strength + 1, (d.SIZE, d.SIZE, 3))
    true = d.truth(index)
    return float(np.abs(np.clip(true + noise, 0, 255) - true).mean())


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compared")
    with pytest.MonkeyPatch.context() as monkeypatch:
        register_dummies(monkeypatch)
        run_models(folder, f"noisy,{WORSE},shuffled,only-edit", tasks=(Task.DEPTH, Task.EDIT))
    return folder


@pytest.fixture
def out(stored: Path, dummies: None, tmp_path: Path) -> Path:
    """A copy of one run, so that every test may add to it."""
    shutil.copytree(stored, tmp_path / "out")
    return tmp_path / "out"


def test_pairs_are_the_samples_that_both_have_a_value_for(out: Path) -> None:
    (row,) = compared(out, "noisy", WORSE, tasks=["depth"])
    a = [error_of(10, i) for i in range(d.COUNT) if i != 3]
    b = [error_of(60, i) for i in range(d.COUNT) if i != 3]
    assert (row.metric, row.protocol, row.unit) == ("dummy_error", "dummy-v1", "levels")
    assert row.paired.a == pytest.approx(np.mean(a))
    assert row.paired.difference.value == pytest.approx(np.mean(a) - np.mean(b))
    assert (row.paired.difference.n, row.left_out) == (9, 1)
    # Lower is better, and A is lower on all nine: 2 of 512 sign patterns are as far from zero.
    assert (row.a_better, row.paired.equal, row.b_better) == (9, 0, 0)
    assert row.paired.p == 2 / 512 and row.better == "A"


def test_the_order_of_the_two_changes_signs_only(out: Path) -> None:
    (one,), (other,) = (
        compared(out, a, b, tasks=["depth"]) for a, b in (("noisy", WORSE), (WORSE, "noisy"))
    )
    assert one.paired.difference.value == pytest.approx(-(other.paired.difference.value or 0))
    assert (one.paired.p, one.p_holm) == (other.paired.p, other.p_holm)
    assert (one.better, other.better) == ("A", "B")


def test_set_level_metrics_are_compared_when_named(out: Path) -> None:
    (row,) = compared(out, "noisy", WORSE, tasks=["depth"], metrics=["dummy_brightness"])
    frame = Reader(out).leaderboard(metric="dummy_brightness", task="depth").set_index("model")
    assert row.paired.a == pytest.approx(frame.loc["noisy", "value"])
    assert row.paired.b == pytest.approx(frame.loc[WORSE, "value"])
    assert (
        row.better == "B" and row.paired.equal is None
    )  # brighter by construction, on every sample


def test_a_metric_with_influences_is_compared_by_them(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (slow,) = compared(out, "noisy", WORSE, tasks=["depth"], metrics=["dummy_brightness"])
    monkeypatch.setattr(
        d.DummyBrightness, "influence", lambda self, x: (x - x.mean()).ravel(), raising=False
    )
    (quick,) = compared(out, "noisy", WORSE, tasks=["depth"], metrics=["dummy_brightness"])
    assert quick.paired.difference.value == pytest.approx(slow.paired.difference.value)
    assert quick.paired.p == 2 / 1024  # of ten samples that all differ in one direction
    assert quick.better == "B"


def test_samples_that_a_set_level_metric_does_not_count_are_left_out(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def counted(self: d.DummyBrightness, rows: np.ndarray) -> np.ndarray:
        return np.arange(len(rows)) > 1

    monkeypatch.setattr(d.DummyBrightness, "counted", counted, raising=False)
    (row,) = compared(out, "noisy", WORSE, tasks=["depth"], metrics=["dummy_brightness"])
    assert (row.paired.difference.n, row.left_out) == (d.COUNT - 2, 2)


def test_a_judgement_which_names_no_seed_is_compared_too(out: Path) -> None:
    info = replace(d.DummyError.info, name="judged", protocol="judge-v1", gap="none")
    with Store.open(out) as store:
        spec = {"judgement": "form", "repeats": 1}
        run_id = store.begin_run(
            RunRecord(suite="dummy", dataset="dummy", spec=spec, provenance={})
        )
        store.write_metrics([info])
        pictures = store.query("SELECT * FROM output WHERE task = 'edit' AND sample_id < 's06'", [])
        for row in pictures:
            score = {"output_id": row["output_id"], "metric": "judged", "protocol": "judge-v1"}
            value = 3.0 if row["model"] == "noisy" else float(row["sample_id"][1:])
            store.write_part("score", [score | {"version": 1, "run_id": run_id, "value": value}])
        rows = {row["model"]: row for row in pictures}
        store.write_aggregates(
            [
                Aggregate(
                    run_id=run_id, suite="dummy", task="edit", dataset="dummy", model=model,
                    metric="judged", protocol="judge-v1", version=1, model_key=row["model_key"],
                    kind=row["kind"], higher_is_better=False, n_expected=10, n=6, value=2.5,
                )
                for model, row in rows.items()
            ]
        )  # fmt: skip
        store.finish_run(run_id)
    (row,) = compared(out, "noisy", WORSE, metrics=["judged"])
    assert (row.paired.a, row.paired.b, row.paired.difference.n) == (3.0, 2.5, 6)
    assert (row.a_better, row.paired.equal, row.b_better) == (2, 1, 3)


def test_the_correction_covers_every_line(out: Path) -> None:
    rows = compared(out, "noisy", WORSE, metrics=["dummy_error", "dummy_brightness"])
    assert [(r.task, r.metric) for r in rows] == [
        (task, metric)
        for task in ("edit", "depth")
        for metric in ("dummy_error", "dummy_brightness")
    ]
    assert [r.p_holm for r in rows] == holm([r.paired.p for r in rows])


def test_slices_and_categories(out: Path) -> None:
    (row,) = compared(out, "noisy", WORSE, tasks=["depth"], slice_name="unseen")
    assert row.paired.difference.n == 2  # s08 and s09
    assert row.paired.a == pytest.approx(np.mean([error_of(10, 8), error_of(10, 9)]))
    (row,) = compared(out, "noisy", WORSE, tasks=["depth"], slice_name="odd")
    assert (row.paired.difference.n, row.left_out) == (4, 1)  # s03 is odd and undefined


def test_repeats_are_averaged_and_other_seeds_do_not_count(
    run_dummies: Run, tmp_path: Path
) -> None:
    run_dummies("noisy", seed=5)  # more pictures of the same model in the same store
    run_dummies(f"noisy,{WORSE}", repeats=3)
    (row,) = compared(tmp_path / "out", "noisy", WORSE)
    means = [np.mean([error_of(10, i, r) for r in range(3)]) for i in range(d.COUNT) if i != 3]
    assert row.paired.a == pytest.approx(np.mean(means))
    assert row.paired.difference.n == 9


def test_runs_of_different_length_meet_where_both_are(run_dummies: Run, tmp_path: Path) -> None:
    run_dummies("noisy")
    run_dummies(WORSE, limit=5)
    (row,) = compared(tmp_path / "out", "noisy", WORSE)
    assert row.paired.difference.n == 4  # s00 to s04 without s03


def test_equal_models_are_not_told_apart(run_dummies: Run, tmp_path: Path) -> None:
    run_dummies("slow,noisy")  # the same pictures, made more slowly
    (row,) = compared(tmp_path / "out", "noisy", "slow")
    assert (row.paired.difference.value, row.paired.p, row.better) == (0.0, 1.0, "")
    assert (row.a_better, row.paired.equal, row.b_better) == (0, 9, 0)


@pytest.mark.parametrize(
    ("a", "b", "options", "sentence"),
    [
        ("noisy", "noisy", {}, "cannot be compared with itself"),
        ("noisi", "noisy", {}, "did you mean noisy"),
        (
            "noisy",
            WORSE,
            {"tasks": ["edge"]},
            "has no results on the task 'edge'; it has depth, edit",
        ),
        ("noisy", WORSE, {"datasets": ["coco"]}, "has no results on the data set 'coco'"),
        ("noisy", WORSE, {"metrics": ["dummy_eror"]}, "did you mean dummy_error"),
        (
            "noisy",
            "only-edit",
            {"tasks": ["depth"]},
            r"'only-edit' has no results on the task 'depth' \(it was never shown a depth map\); it has edit",
        ),
        (
            "noisy",
            WORSE,
            {"slice_name": "sean"},
            "share no sample of a slice 'sean'; did you mean seen",
        ),
        (
            "noisy",
            WORSE,
            {"metrics": ["seconds_per_image"]},
            "'seconds_per_image' is a cost, .* `editar-bench report --metric seconds_per_image` shows",
        ),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(
    out: Path, a: str, b: str, options: dict[str, object], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        compared(out, a, b, **options)


def test_rows_without_a_value_are_told_from_no_rows(run_dummies: Run, tmp_path: Path) -> None:
    run_dummies("noisy,only-edit", tasks=(Task.DEPTH,))
    words = r"No row of 'only-edit' in .* holds a value \(depth: it was never shown a depth map\)"
    with pytest.raises(UserError, match=words):
        compared(tmp_path / "out", "only-edit", "noisy")


def test_other_data_is_refused(
    out: Path, run_dummies: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(d.DummyTask, "fingerprint", lambda self: "data-2")
    run_dummies(WORSE, tasks=(Task.DEPTH,))
    with pytest.raises(UserError, match="were run on different data for depth on dummy"):
        compared(out, "noisy", WORSE, tasks=["depth"])


def test_a_metric_that_is_not_installed_any_more(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(METRICS._entries, "dummy_brightness")
    assert compared(out, "noisy", WORSE)  # what is stored a sample needs no metric
    with pytest.raises(UserError, match="dummy_brightness .* is not installed here"):
        compared(out, "noisy", WORSE, metrics=["dummy_brightness"])


def test_observations_of_another_version_are_not_read(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = replace(d.DummyBrightness.info, version=2)
    monkeypatch.setattr(d.DummyBrightness, "info", newer)
    with pytest.raises(UserError, match="has dummy_brightness by another version of the metric"):
        compared(out, "noisy", WORSE, metrics=["dummy_brightness"])


def test_the_command_prints_every_format(out: Path) -> None:
    asked = ("compare", "noisy", WORSE, "--out", str(out))
    code, text, _ = call(*asked)
    assert code == 0
    assert f"depth on dummy: A = noisy, B = {WORSE}" in text and "2 tests" in text
    assert "undefined for one of the two or both: 1 depth samples of dummy_error." in text
    code, text, _ = call(*asked, "--task", "edit")
    assert code == 0 and "1 test; the better one" in text
    code, text, _ = call(*asked, "--format", "json")
    record = json.loads(text)
    assert record["b"] == WORSE
    assert [m["better"] for m in record["metrics"]] == ["A", "A"]
    code, text, _ = call(*asked, "--format", "csv", "--task", "edit")
    (line,) = csv.DictReader(io.StringIO(text))
    assert (line["model_a"], line["task"], line["n"], line["a_better"]) == (
        "noisy",
        "edit",
        "9",
        "9",
    )
    code, text, _ = call(*asked, "--format", "markdown")
    assert "| dummy_error ↓ |" in text and "Protocols: dummy-v1" in text
    row = replace(compared(out, "noisy", WORSE)[0], metric="=x", protocol="[a](http://x)<b>")
    assert not any(sign in markdown("a", "b", [row]) for sign in ("](", "<b>"))
    assert "\n| a\\|b " in markdown("a", "b", [replace(row, metric="a|b")])
    (line,) = csv.DictReader(io.StringIO(as_csv("a", "b", [row])))
    assert line["metric"] == "'=x"


def test_the_command_refuses_in_one_sentence(out: Path, tmp_path: Path) -> None:
    for more, words in (
        (("--format", "tabel"), "did you mean table"),
        (("--out", str(tmp_path / "none")), "there are no results at"),
    ):
        code, _, err = call("compare", "noisy", WORSE, "--out", str(out), *more)
        assert code == 2 and words in err and len(err.strip().splitlines()) == 1
