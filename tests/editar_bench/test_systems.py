"""The table behind `ls models`, against the adapters that it speaks for."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from editar_bench import builtin
from editar_bench.cli import app
from editar_bench.commands.ls_models import defaults_of
from editar_bench.errors import UserError
from editar_bench.model_names import parse_models
from editar_bench.registry import MODELS
from editar_bench.systems import adapted, elsewhere
from editar_bench.types import Task


@pytest.mark.parametrize("name", builtin.MODELS)
def test_the_table_says_what_the_adapter_says(name: str) -> None:
    can = MODELS.get(name).capabilities  # type: ignore[attr-defined]
    assert adapted()[name].can == tuple(str(can[task].how) for task in Task)


def test_systems_that_run_elsewhere_are_no_models() -> None:
    assert not elsewhere().keys() & builtin.MODELS.keys()
    for name, system in elsewhere().items():
        assert system.about and system.why and system.weights, name
        assert set(system.can) <= {"native", "zero-shot", "no"}


def ls(*names: str) -> str:
    done = CliRunner().invoke(app, ["ls", "models", *names])
    assert done.exit_code == 0, done.output
    return done.output


def test_every_system_has_a_row() -> None:
    rows = [line.split("  ")[0] for line in ls().splitlines()]
    assert {*builtin.MODELS, *elsewhere()} <= {row.strip() for row in rows}


def test_all_of_them_can_be_described() -> None:
    text = ls("all")
    for name in (*builtin.MODELS, *elsewhere()):
        assert f"\n{name}: " in f"\n{text}"


def test_a_description_says_why_and_with_what_settings() -> None:
    lines = [" ".join(line.split()) for line in ls("controlnet-1.0", "varedit").splitlines()]
    assert "edit no: its networks read depth, edge and label maps, none reads a photograph" in lines
    assert "license code Apache-2.0, weights OpenRAIL" in lines
    benchmark = next(line for line in lines if line.startswith("benchmark"))
    assert "steps=20, guidance=7.5, scale=1, sampler=unipc" in benchmark
    assert 'negative="worst quality, low quality"' in benchmark
    assert "weights HiDream-ai/VAREdit" in lines
    assert any(
        line.startswith("run by its own repository; then editar-bench score") for line in lines
    )


def test_named_settings_are_among_the_defaults() -> None:
    settings = defaults_of(MODELS.get("qwen-image-edit"))
    assert (settings["guidance"], settings["negative"], settings["resolution"]) == (4.0, " ", 1024)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["models", "controlnets"], "no model 'controlnets'; did you mean controlnet"),
        (["metrics", "fid"], "only models are described one by one"),
    ],
)
def test_mistakes(arguments: list[str], words: str) -> None:
    done = CliRunner().invoke(app, ["ls", *arguments])
    assert done.exit_code != 0 and words in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "unicontrol",
            "own repository, .*score --layout unicontrol --images DIR --name unicontrol",
        ),
        ("varedit", "`editar-bench score --images DIR"),
        ("muse", "cannot be run: its weights are not public"),
    ],
)
def test_running_a_system_that_lives_elsewhere(name: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        parse_models(name)
