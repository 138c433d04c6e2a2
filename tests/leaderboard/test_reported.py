"""Published numbers: every row is complete, known, sourced, and there once."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from editar_bench.metrics.protocols import PUBLISHED
from leaderboard.queries import REPORTED, reported_rows

ROWS = reported_rows(unverified=True)
COLUMNS = [
    "table", "suite", "task", "dataset", "model", "metric", "protocol", "value", "unit",
    "higher_is_better", "n", "source", "mark", "evidence", "note",
]  # fmt: skip
MARKS = {"primary": "verified", "issue thread": "verified", "secondary": "verified"}


def test_every_file_has_the_same_columns():
    assert {tuple(row) for row in ROWS} == {tuple(COLUMNS)}
    assert {path.stem for path in REPORTED.glob("*.csv")} >= {"pie_bench", "controlnet_plus_plus"}


@pytest.mark.parametrize("row", ROWS, ids=lambda r: f"{r['table']}-{r['model']}-{r['metric']}")
def test_a_row_is_complete(row):
    optional = {"n", "note"}
    assert all(row[name].strip() for name in COLUMNS if name not in optional)
    assert math.isfinite(float(row["value"]))
    assert row["protocol"] in PUBLISHED
    assert row["mark"] == MARKS.get(row["evidence"], "unverified")
    assert row["evidence"] in {*MARKS, "recalled"}
    assert row["higher_is_better"] in ("true", "false")
    assert row["n"] == "" or int(row["n"]) > 0


@pytest.mark.parametrize(
    "key",
    [
        ("table", "dataset", "model", "metric"),
        ("suite", "task", "dataset", "model", "metric", "protocol"),  # the key of the store
    ],
)
def test_nothing_is_there_twice(key):
    counted = Counter(tuple(row[name] for name in key) for row in ROWS)
    assert [k for k, count in counted.items() if count > 1] == []


def test_a_metric_has_one_unit_and_one_direction():
    told = {}
    for row in ROWS:
        scale = (row["unit"], row["higher_is_better"])
        assert told.setdefault((row["metric"], row["protocol"]), scale) == scale


@pytest.mark.parametrize(
    ("model", "dataset", "metric", "value"),
    [
        ("EditAR", "pie-bench", "pie_structure", 39.43),
        ("EditAR", "multigen-canny", "fid", 13.91),
        ("InstructPix2Pix", "pie-bench", "pie_clip_edited", 22.20),
        ("PnP Inversion + P2P", "pie-bench", "pie_lpips_unedit", 54.55),
        ("ControlNet++", "multigen-depth", "depth_rmse_max", 28.32),
        ("ControlAR", "multigen-hed", "hed_ms_ssim_x1", 0.8563),
        ("MagicBrush", "magicbrush-test-final-turn", "mb_clip_image", 0.8985),
    ],
)
def test_spot_checks_against_the_tables(model, dataset, metric, value):
    found = [r for r in ROWS if (r["model"], r["dataset"], r["metric"]) == (model, dataset, metric)]
    assert value in [float(row["value"]) for row in found]


def test_recalled_and_superseded_numbers_say_so():
    recalled = {r["model"] for r in ROWS if r["mark"] == "unverified"}
    assert {"InstructDiffusion", "Blended Latent Diffusion"} <= recalled
    old = [row for row in ROWS if row["protocol"].endswith(".jpg")]
    assert len(old) == 4 and all("superseded" in row["note"] for row in old)


def test_what_nobody_could_verify_is_shown_only_when_asked_for() -> None:
    shown = reported_rows()
    assert shown and len(shown) < len(ROWS)
    assert {row["mark"] for row in shown} == {"verified"}
    hidden = [row for row in ROWS if row not in shown]
    assert {row["mark"] for row in hidden} == {"unverified"}
