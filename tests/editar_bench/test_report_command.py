"""`editar-bench report`: its formats, its filters, what it says of what is not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.editar_bench import dummies as d
from tests.editar_bench.calling import RUN, call


def test_a_report_without_results_is_one_sentence(tmp_path: Path) -> None:
    code, _, err = call("report", "--out", str(tmp_path))
    assert code == 2 and "no results" in err


def test_report_formats(dummies: None, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    call(*RUN, "--model", "noisy,codec,shuffled", "--out", out)
    rows = json.loads(call("report", "--out", out, "--format", "json")[1])
    mine = [r for r in rows if (r["metric"], r["model"]) == ("dummy_error", "noisy")]
    assert len(mine) == 1 and mine[0]["n"] == 9 and mine[0]["unit"] == "levels"
    assert (
        json.loads(call("report", "--out", out, "--format", "json", "--dataset", "dummy")[1])
        == rows
    )
    texts = {
        f: call("report", "--out", out, "--format", f)[1] for f in ("markdown", "latex", "csv")
    }
    shown = f"{mine[0]['value']:.4g}"
    assert f"| noisy | {shown} |" in texts["markdown"] and "dummy_error ↓" in texts["markdown"]
    assert f"noisy & {shown} &" in texts["latex"] and r"dummy\_error $\downarrow$" in texts["latex"]
    assert texts["csv"].splitlines()[0].startswith("suite,dataset,task,metric,protocol")
    assert len(texts["csv"].splitlines()) == len(rows) + 1


def test_plain_latex_knows_every_character_of_a_report(dummies: None, tmp_path: Path) -> None:
    from editar_bench.report import latex, read_rows

    out = tmp_path / "out"
    call(*RUN, "--model", "noisy", "--out", str(out))
    rows = [row | {"unit": "×10⁻³"} for row in read_rows(out, {})]
    text = latex(rows)
    assert r"$\times$10$^{-}$$^{3}$" in text and text.isascii()


def test_reports_take_lists_with_blanks_and_leave_no_half_a_file(
    dummies: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, file = str(tmp_path / "out"), tmp_path / "report.md"
    call(*RUN, "--model", "noisy", "--out", out)
    whole = call("report", "--out", out, "--metric", "dummy_error")[1]
    command = ("report", "--out", out, "--metric", " dummy_error , ", "--file", str(file))
    assert call(*command)[0] == 0 and file.read_text() == whole
    link = tmp_path / "link"
    link.symlink_to(file)
    file.write_text("before")
    assert call(*command[:-1], str(link))[0] == 0
    assert link.is_symlink() and file.read_text() == whole  # as /dev/stdout is one
    file.write_text("before")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    code, _, err = call(*command)
    assert code == 2 and "No space left" in err
    assert file.read_text() == "before" and len(list(tmp_path.glob(".report*"))) == 0


def test_a_missing_gap_says_why(dummies: None, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    text = call(*RUN, "--model", "noisy,codec", "--out", out)[1]
    reason = "no pictures of 'shuffled' by the present weights on this data; run it"
    assert f"no gap for noisy, codec: {reason}" in text
    assert f"; no gap: {reason} |" in call("report", "--out", out)[1]
    rows = json.loads(call("report", "--out", out, "--format", "json")[1])
    reasons = {r["gap_reason"] for r in rows if r["metric"] == "dummy_error"}
    assert reasons == {reason}


def test_remarks_on_the_data_are_stored_and_reported(
    dummies: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = str(tmp_path / "out")
    call(*RUN, "--model", "codec", "--out", out)
    remark = "2 of 10 pictures differ on this machine (the first is s01)."
    monkeypatch.setattr(d.DummyTask, "remarks", lambda self: (remark,), raising=False)
    assert remark in call(*RUN, "--model", "noisy", "--out", out)[1]
    for format, expected in (
        ("markdown", f"Note on noisy: {remark}"),
        ("latex", f"Note on noisy: {remark}"),
        ("html", f"<p>Note on noisy: {remark}</p>"),
    ):
        assert expected in call("report", "--out", out, "--format", format)[1]
    rows = json.loads(call("report", "--out", out, "--format", "json")[1])
    assert {(r["model"], r["data_remark"]) for r in rows} == {("noisy", remark), ("codec", "")}


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--task", "depht", "has no task 'depht'; did you mean depth?"),
        ("--dataset", "dumy", "has no dataset 'dumy'; did you mean dummy?"),
        ("--suite", "paper", "has no suite 'paper'; known are: "),
        ("--metric", "dummy_error,dumy_brightness", "no metric 'dumy_brightness'; did you mean"),
        ("--protocol", "x", "has no protocol 'x'; known are: cost."),
    ],
)
def test_a_report_on_what_is_not_there(
    dummies: None, tmp_path: Path, option: str, value: str, words: str
) -> None:
    out = str(tmp_path / "out")
    call(*RUN, "--model", "noisy", "--limit", "1", "--out", out)
    code, text, err = call("report", "--out", out, option, value)
    assert code == 2 and words in err and len(err.strip().splitlines()) == 1 and not text


def test_the_html_report_stands_alone(dummies: None, tmp_path: Path) -> None:
    out, page = str(tmp_path / "out"), tmp_path / "page.html"
    call(*RUN, "--model", "noisy,codec", "--out", out)
    assert call("report", "--out", out, "--format", "html", "--file", str(page))[0] == 0
    text = page.read_text()
    assert "<td>noisy</td>" in text and "codec (reference)" in text
    assert not any(word in text for word in ("http:", "https:", "src=", "<script", "@import"))
