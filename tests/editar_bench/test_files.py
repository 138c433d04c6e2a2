"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from editar_bench.files import written_aside


def test_what_a_library_wrote_for_its_owner_alone_has_the_usual_permissions(tmp_path: Path) -> None:
    usual = tmp_path / "usual"
    usual.touch()
    with written_aside(tmp_path / "weights") as aside:
        aside.write_bytes(b"w")
        os.chmod(aside, 0o600)
    assert (tmp_path / "weights").stat().st_mode == usual.stat().st_mode


def test_a_failure_leaves_the_file_as_it_was_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    with pytest.raises(ValueError, match="stop"), written_aside(path) as aside:
        aside.write_text("half")
        raise ValueError("stop")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
