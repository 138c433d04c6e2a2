"""What is missing is said before anything begins: all of it, how large, and what gets it."""

from __future__ import annotations

from pathlib import Path

import pytest

from editar_bench import preflight, registry, suites
from editar_bench.contracts import Missing
from models.adapters.ablations import EditarAblation
from tests.data_prep.making import pie_archive, pie_item
from tests.editar_bench import dummies as d
from tests.editar_bench.calling import call

PAPER = ("run", "--task", "all", "--suite", "paper", "--device", "cpu")


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No data, no weights, no caches."""
    monkeypatch.setenv("EDITAR_BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("EDITAR_BENCH_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


def test_a_run_of_the_paper_suite_lists_everything_that_is_missing(empty: Path) -> None:
    out = empty / "out"
    code, text, err = call(*PAPER, "--model", "editar", "--out", str(out))
    assert code == 2 and not text and not out.exists()
    lines = err.splitlines()
    assert "not on this machine" in lines[0] and "nothing was started" in lines[0]
    by_piece = {line.strip().rpartition("  ")[0].split("  ")[0]: line for line in lines[1:]}
    for dataset in suites.SUITES["paper"].datasets:
        assert f"data {dataset}" in by_piece
    assert "about 2.2 GB" in by_piece["data multigen-depth"]
    assert by_piece["data multigen-depth"].endswith("prepare --dataset multigen-depth")
    assert by_piece["weights editar"].endswith("editar-bench prepare --model editar")
    assert "hf download Intel/dpt-large" in by_piece["evaluator dpt-large"]
    assert by_piece["evaluator inception"].count("inception-2015-12-05.pt") == 2  # file and address
    assert not any("emu" in line for line in lines)  # not part of the run


def test_of_a_model_with_settings_the_missing_file_is_named(empty: Path) -> None:
    run = ("run", "--task", "edit", "--device", "cpu", "--out", str(empty / "out"))
    code, _, err = call(*run, "--model", f"instruct-pix2pix:weights={empty}")
    assert code == 2 and f"{empty}/model_index.json is not on this machine" in err


def test_what_prepare_cannot_fetch_is_said_with_its_reason(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EditarAblation, "root", empty)
    run = ("run", "--task", "edge", "--device", "cpu", "--out", str(empty / "out"))
    code, _, err = call(*run, "--model", "editar-depth-only")
    assert code == 2 and "train ablations" in err and "size unknown in all" in err
    assert "prepare --model editar-depth-only" not in err


def test_missing_evaluators_alone_do_not_stop_a_run(empty: Path) -> None:
    original = empty / "data" / "pie-bench" / "original"
    original.mkdir(parents=True)
    pie_archive(original, **{"000000000001": pie_item()})
    arguments = ("--dataset", "pie-bench", "--model", "blank", "--out", str(empty / "out"))
    code, text, err = call("run", *arguments, "--device", "cpu")
    assert "evaluator clip-L14" in err and "will be failed rows" in err
    assert "data pie-bench" not in err and code == 1 and "blank" in text


def test_only_models_that_were_named_must_be_there(
    dummies: None, empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ("run", "--dataset", "dummy", "--task", "depth", "--device", "cpu")
    out = ("--out", str(empty / "out"))
    monkeypatch.setattr(d.absent, "download_size", 15_000_000_000, raising=False)
    code, _, err = call(*run, *out, "--model", "noisy,absent")
    assert code == 2 and "weights absent  about 15.0 GB  editar-bench prepare --model absent" in err
    assert "not on this machine" not in call(*run, *out, "--model", "all")[2]  # a failed row
    suite = suites.Suite(name="dummy", datasets=("dummy",), models=("noisy", "absent"), summary="")
    monkeypatch.setitem(suites.SUITES, "dummy", suite)
    code, text, err = call(*run, *out)
    assert code == 0 and "absent is left out" in text and not err


def test_a_piece_that_several_things_miss_is_listed_once(
    dummies: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    piece = Missing(what="data x", how="get it")
    monkeypatch.setattr(d.DummyTask, "missing", lambda self: (piece,), raising=False)
    keys = [key for key in registry.TASKS.names() if key.endswith("/dummy")]
    assert len(keys) > 1 and preflight.lacking(keys, ()).needed == [piece]
    assert preflight.lines([piece]) == ["  data x  size unknown  get it"]
    assert preflight.size_text(4_800_000) == "about 5 MB"


def test_doctor_lists_missing_data_and_networks_without_failing(empty: Path) -> None:
    text = call("doctor", "--out", str(empty / "out"))[1]
    assert "missing  task depth/multigen-depth: about 2.2 GB" in text
    assert "missing  evaluator inception: about 96 MB" in text
    assert "ok       task depth/scenes" in text
