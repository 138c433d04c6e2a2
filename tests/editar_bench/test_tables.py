"""Tables and bars on the terminal: names are text, whatever is in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from editar_bench.commands.ls import print_rows
from editar_bench.progress import Bars
from editar_bench.runner import Summary
from editar_bench.tables import print_summary
from tests.editar_bench import dummies as d
from tests.editar_bench.conftest import run_models

ODD = "a[/b][red]x"


def test_odd_names_are_shown_as_they_are(
    dummies: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    summary: Summary = run_models(tmp_path, "noisy")
    for row in summary.aggregates:
        object.__setattr__(row, "model", ODD)
    infos = {m.info.name: m.info for m in (d.DummyError, d.DummyBrightness)}
    shown = {row.metric for row in summary.aggregates} - infos.keys()
    summary.aggregates[:] = [row for row in summary.aggregates if row.metric not in shown]
    print_summary(summary, infos)
    assert ODD in capsys.readouterr().out


def test_bars_show_odd_titles(capsys: pytest.CaptureFixture[str]) -> None:
    with Bars().stage(f"depth · generate · {ODD}", 2) as advance:
        advance(2)
    shown = capsys.readouterr()
    assert ODD in shown.out + shown.err


def test_a_listing_sends_no_commands_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(("a", "b"), [("\x1b]0;title\x07x", "y\nz ↑")])
    assert capsys.readouterr().out.splitlines()[1] == " ]0;title x  y z ↑"
