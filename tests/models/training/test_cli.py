"""Numbers that `editar-bench train` cannot work with are refused before anything is made."""

from __future__ import annotations

import pytest

from editar_bench.errors import UserError
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
