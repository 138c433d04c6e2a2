"""The README's tables: what is shown, what is a dash, and what is said to be met."""

from __future__ import annotations

import pandas as pd
import pytest

from editar_bench.store import UserError
from leaderboard import readme
from leaderboard.comparison import Cost
from leaderboard.readme import folded, replace
from leaderboard.readme_tables import COLUMNS, Table, compared, floors, number, scores
from tests.leaderboard.detail_rows import row


@pytest.fixture
def table() -> Table:
    rows = [
        row("depth", "codec", "psnr_objects", 25.0),
        row("depth", "codec", "color_accuracy", 0.8),
        row("depth", "oracle", "color_accuracy", 1.0),
        row("depth", "editar-scenes", "depth_rmse", 0.05, gap_closed=0.72, n=24),
        row("depth", "codec", "depth_rmse", 0.04),
        row("depth", "codec", "kernel_distance", 2000.0),
        row("depth", "unable", "depth_rmse", None),
        row("edge", "editar-scenes", "edge_f1", 0.5, gap_closed=0.44),
        row("depth", "editar-scenes", "seconds_per_image", 0.2),
        row("edge", "editar-scenes", "seconds_per_image", 0.4),
        row("depth", "editar-scenes", "depth_rmse", 9.0, slice="seen"),
    ]
    return Table(pd.DataFrame(rows))


def test_a_task_shows_values_with_their_intervals_gap_and_small_counts(table: Table) -> None:
    lines = scores(table, "depth")
    assert lines[0].startswith("| model | `depth_rmse` ↓ | `color_accuracy` ↑ |")
    assert "| `editar-scenes` | 0.050 [0.050, 0.050] (n 24) | – | – | 0.72 |" in lines
    assert "2000 [2000, 2000]" in "".join(lines)


def test_a_task_that_was_not_run_is_a_sentence(table: Table) -> None:
    with pytest.raises(UserError, match="no seg_miou of segmentation; run `editar-bench run"):
        scores(table, "segmentation")


def test_models_without_numbers_are_no_lines(table: Table) -> None:
    assert "unable" not in "".join(scores(table, "depth"))


def test_floors_are_met_or_not(table: Table) -> None:
    lines = floors(table)
    assert "| codec round trip, PSNR on objects (dB) | 24 | 25.00 | met |" in lines
    assert (
        "| codec round trip, object color accuracy as a part of `oracle` | 0.9 | 0.800 | not met |"
        in lines
    )
    assert "| depth RMSE, gap closed by `editar-scenes` | 0.7 | 0.720 | met |" in lines
    assert "| edge F1, gap closed | 0.45 | 0.440 | not met |" in lines
    assert "| segmentation mIoU, gap closed | 0.7 | – | not met |" in lines  # unmeasured is unmet


def test_costs_stand_beside_gaps_and_unequal_ones_apart(table: Table) -> None:
    rest = {
        "parameters": 1_960_000,
        "samples": 5000,
        "minutes": 12.3,
        "hardware": "a CPU",
        "seeds": 1,
    }
    costs = [
        Cost(model="editar-scenes", flops=2e13, **rest),  # type: ignore[arg-type]
        Cost(model="long", flops=9e13, **rest),  # type: ignore[arg-type]
    ]
    lines = compared(table, costs)
    assert "Unequal budgets" in lines[0]
    assert (
        "| `editar-scenes` | 1.96 M | 5,000 | 2.0e+13 | 12 | – | 0.72 | 0.44 | – | 0.300 |" in lines
    )
    assert any(line.startswith("| `long` (apart) |") for line in lines)


def test_paradigms_come_before_ablations(table: Table) -> None:
    rest = {"parameters": 1, "samples": 1, "minutes": 1.0, "hardware": "a CPU", "seeds": 1}
    names = ("editar-clip-teacher", "muse-scenes", "editar-common")
    costs = [Cost(model=name, flops=2e13, **rest) for name in names]  # type: ignore[arg-type]
    lines = [line.split("`")[1] for line in compared(table, costs) if line.startswith("| `")]
    assert lines == ["editar-common", "muse-scenes", "editar-clip-teacher"]


def test_long_tables_are_folded() -> None:
    """The table needs empty lines around it, or it is shown as text."""
    made = folded("All rows of edit", ["| a |", "|---|"])
    assert made[1:6] == ["<summary>All rows of edit</summary>", "", "| a |", "|---|", ""]
    assert (made[0], made[6]) == ("<details>", "</details>")


def test_numbers_are_short() -> None:
    assert [number(v) for v in (None, 0.12345, 23.456, 345.67, 98765.4)] == [
        "–",
        "0.123",
        "23.46",
        "345.7",
        "98765",
    ]


def test_no_minus_stands_before_a_zero() -> None:
    assert number(-0.0004) == "0.000" and number(-0.0006) == "-0.001"
    rows = [row("edge", "editar-scenes", m, -0.0, gap_closed=-0.001) for m in COLUMNS["edge"]]
    lines = scores(Table(pd.DataFrame(rows)), "edge")
    assert lines[2].endswith("| 0.00 |")


def test_only_what_stands_between_the_marks_changes() -> None:
    text = f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n"
    assert replace(text, "new") == f"before\n{readme.BEGIN}\n\nnew\n{readme.END}\nafter\n"
    with pytest.raises(UserError, match="has no lines"):
        replace("no marks", "new")
