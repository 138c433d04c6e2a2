"""The report's text from plain rows; what the command does around it is tested with the commands."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from editar_bench.report import COLUMNS, _order, as_csv, latex, markdown

ROW: dict[str, Any] = dict.fromkeys(COLUMNS) | {
    "suite": "scenes",
    "dataset": "scenes",
    "task": "edit",
    "metric": "psnr",
    "protocol": "p.v1",
    "unit": "dB",
    "higher_is_better": True,
    "model": "complete",
    "kind": "measured",
    "value": 10.0,
    "n": 5000,
    "n_expected": 5000,
    "status": "ok",
    "reason": "",
}


def test_latex_never_mixes_data_sets() -> None:
    text = latex([ROW, ROW | {"suite": "paper", "dataset": "pie-bench", "model": "other"}])
    first, second = text.split(r"\end{table}")[:2]
    assert "complete &" in first and r"\caption{edit (scenes, scenes): psnr" in first
    assert "other &" in second and r"\caption{edit (paper, pie-bench): psnr" in second


def test_latex_says_which_rows_are_partial_and_why_others_have_no_number() -> None:
    partial = {"model": "part", "n": 1, "status": "partial", "reason": "1 of 5000 samples"}
    none = {"value": None, "n": 0, "status": "unsupported", "reason": "no “edit” – naïve 語_x"}
    text = latex([ROW, ROW | partial, ROW | none | {"model": "a"}, ROW | none | {"model": "b"}])
    assert "complete &" in text and "part (partial) &" in text
    assert r"{\footnotesize part: partial: 1 of 5000 samples\par}" in text
    assert r"{\footnotesize a, b: unsupported: no ``edit'' -- naive ?\_x\par}" in text
    assert text.isascii()


def test_no_name_or_reason_is_taken_for_a_command_or_a_tag() -> None:
    names = ["[mine]", "*mine", "m|<1>"]
    text = latex([ROW | {"model": name} for name in names])
    assert all(line in text for line in ("\n{}[mine] &", "\n{}*mine &"))
    assert r"m\textbar{}\textless{}1\textgreater{} &" in text
    failed = {"value": None, "status": "failed", "reason": "no <sample id>.png"}
    assert "| failed: no &lt;sample id>.png |" in markdown([ROW | failed])


def test_markdown_from_elsewhere_has_no_tags_links_or_pictures() -> None:
    hostile = "![a](http://x) [b][c] <img src=x>\n[c]: http://x"
    names = ("task", "dataset", "suite", "metric", "protocol", "unit", "model", "data_remark")
    text = markdown([ROW | dict.fromkeys(names, hostile)])
    assert "<" not in text and "](" not in text and "][" not in text
    assert not any(line.startswith("[c]:") for line in text.splitlines())


def test_a_spreadsheet_computes_nothing_of_a_csv_file() -> None:
    names = ["=1+1", "@SUM(1)", "+1", "-1", "a=1"]
    text = as_csv([ROW | {"model": name, "value": -1.5} for name in names])
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["model"] for row in rows] == ["'=1+1", "'@SUM(1)", "'+1", "'-1", "a=1"]
    assert {row["value"] for row in rows} == {"-1.5"}


@pytest.mark.parametrize("higher", [True, False])
def test_partial_rows_come_after_complete_ones_and_before_those_without_a_number(
    higher: bool,
) -> None:
    rows = [
        ROW | {"model": "none", "value": None, "status": "failed"},
        ROW | {"model": "part", "value": 99.0 if higher else 0.0, "status": "partial"},
        ROW,
    ]
    ordered = sorted((row | {"higher_is_better": higher} for row in rows), key=_order)
    assert [row["model"] for row in ordered] == ["complete", "part", "none"]
