"""`editar-bench train` refuses numbers it cannot work with, and shares a folder of weights between processes."""

from __future__ import annotations

import shutil

import pytest

from editar_bench.errors import UserError
from models.training import cli
from models.training.cli import main


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--minutes", "nan"),
        ("--minutes", "0"),
        ("--flops", "-1"),
        ("--edits", "-1"),
        ("--threads", "-1"),
        ("--threads", "99999999999"),
        ("--seed", "-1"),
        ("--seed", "9" * 30),
    ],
)
def test_impossible_numbers(option, value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"train: {option} is "):
        main(["codec", f"{option}={value}"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["--recip=paper", "--minute=1"])
def test_options_are_not_to_be_abbreviated(option, tmp_path, monkeypatch, capsys):
    """`--recip paper` would begin the training of the scenes' model, into the shipped weights."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["editar", option])
    assert "unrecognized arguments" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_two_processes_begin_one_folder_at_once(tmp_path, monkeypatch):
    """Both see that the codec is not there yet; the second copy ends behind the first."""
    real = shutil.copytree

    def copy_behind_another(source, target):
        real(source, target)
        if not (tmp_path / source.name).exists():
            real(source, tmp_path / source.name)

    monkeypatch.setattr(cli.shutil, "copytree", copy_behind_another)
    places = cli._places(tmp_path, {"editar-common"})
    assert places["weights"] == tmp_path
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["codec", "text", "vae"]  # and nothing beside them
    assert (tmp_path / "codec" / "config.json").exists()


def test_a_copy_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def full_disk(source, target):
        target.mkdir(parents=True)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cli.shutil, "copytree", full_disk)
    with pytest.raises(OSError, match="No space"):
        cli._places(tmp_path, {"editar-common"})
    assert not list(tmp_path.iterdir())
