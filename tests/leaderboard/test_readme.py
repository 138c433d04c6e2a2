"""The README's tables: what is shown, what is a dash, and what is said to be met."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from editar_bench.contracts import MetricInfo
from editar_bench.seeds import seed_of
from editar_bench.statistics import mean_interval
from editar_bench.store import Aggregate, Reader, RunRecord, Store, UserError, output_id
from editar_bench.types import Task
from leaderboard import readme
from leaderboard.comparison import Cost
from leaderboard.readme import (
    COLUMNS,
    Pairing,
    Table,
    beaten,
    better_on_the_same_samples,
    compared,
    floors,
    number,
    replace,
    scores,
)


def row(
    task: str, model: str, metric: str, value: float | None, **more: object
) -> dict[str, object]:
    kind = "reference" if model in ("codec", "oracle") else "measured"
    known = {"suite": "scenes", "slice": "", "kind": kind, "n": 250, "gap_closed": None}
    bounds = {"ci_low": value, "ci_high": value, "higher_is_better": metric != "depth_rmse"}
    return known | bounds | {"task": task, "model": model, "metric": metric, "value": value} | more


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
    assert lines[2].startswith("| model | `depth_rmse` ↓ | `color_accuracy` ↑ |")
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


def test_rivals_are_beaten_where_no_interval_touches() -> None:
    def interval(task: str, model: str, metric: str, low: float, high: float) -> dict[str, object]:
        return row(task, model, metric, (low + high) / 2, ci_low=low, ci_high=high)

    rows = [
        interval("depth", "muse-scenes", "depth_rmse", 0.4, 0.5),
        interval("depth", "shuffled", "depth_rmse", 0.6, 0.7),
        interval("depth", "blank", "depth_rmse", 0.5, 0.8),  # touches
        interval("depth", "llamagen-scenes", "depth_rmse", 0.1, 0.2),  # better
        interval("edge", "muse-scenes", "edge_f1", 0.4, 0.5),
        *(interval("edge", rival, "edge_f1", 0.1, 0.39) for rival in readme.RIVALS),
        interval("segmentation", "muse-scenes", "seg_miou", 0.4, 0.5),  # no rival was run
        interval("depth", "stable-diffusion-scenes", "depth_rmse", 0.1, 0.2),
        interval("depth", "copy-source", "depth_rmse", 0.3, 0.4),
    ]
    table = Table(pd.DataFrame(rows))
    lines = beaten(table, set())
    missing = "not `shuffled`, `blank`, `llamagen-scenes`"
    assert f"| `muse-scenes` | – | not `blank`, `llamagen-scenes` | all | {missing} |" in lines
    assert "| `stable-diffusion-scenes` (against `copy-source`) | – | all | – | – |" in lines
    marked = beaten(table, {Pairing("depth", "muse-scenes", "blank")})
    cells = f"| `muse-scenes` | – | not `blank`†, `llamagen-scenes` | all | {missing} |"
    assert cells in marked and "† They touch, but on the same samples" in "".join(marked)


def store_of(out: Path, values: dict[str, np.ndarray]) -> Reader:
    """A store of one metric on edges, all samples the same for every model."""
    info = MetricInfo(
        name="edge_f1",
        protocol="p",
        unit="",
        direction="higher",
        version=1,
        tasks=frozenset({Task.EDGE}),
        gap="shuffled",
    )
    place = {"suite": "scenes", "task": "edge", "dataset": "scenes"}
    with Store.open(out) as store:
        spec, provenance = {"seed": 1}, {"data": {"edge/scenes": "f"}}
        record = RunRecord(suite="scenes", dataset="scenes", spec=spec, provenance=provenance)
        run_id = store.begin_run(record)
        store.write_metrics([info])
        for model, of_model in values.items():
            rows, scored = [], []
            for i, value in enumerate(of_model):
                sample = f"s{i:03d}"
                seed = seed_of(1, "edge", "scenes", sample, 0)
                key = output_id(model, "edge", "scenes", "f", sample, 0, seed, "h")
                base = {"output_id": key, "dataset_fingerprint": "f", "model_key": model}
                own = {"model": model, "sample_id": sample, "repeat": 0, "seed": seed}
                rows.append(place | base | own | {"status": "ok", "kind": "measured"})
                score = {"metric": "edge_f1", "protocol": "p", "version": 1}
                scored.append(score | {"output_id": key, "value": float(value)})
            store.write_part("output", rows)
            store.write_part("score", scored)
            found = mean_interval(of_model)
            aggregate = Aggregate(
                **place,  # type: ignore[arg-type]
                run_id=run_id,
                model=model,
                metric="edge_f1",
                protocol="p",
                version=1,
                model_key=model,
                kind="measured",
                higher_is_better=True,
                n_expected=len(of_model),
                n=found.n,
                value=found.value,
                ci_low=found.low,
                ci_high=found.high,
            )
            store.write_aggregates([aggregate])
        store.finish_run(run_id)
    return Reader(out)


def test_a_paired_test_marks_what_touching_intervals_hide(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    hard = rng.normal(0.5, 0.2, 60)  # how hard a sample is shows in every model
    values = {
        "muse-scenes": hard,
        "shuffled": hard - 0.05 + rng.normal(0, 0.02, 60),
        "blank": hard + rng.normal(0, 0.02, 60),
        "llamagen-scenes": hard - 0.5,
    }
    reader = store_of(tmp_path, values)
    table = Table(reader.details())
    better = better_on_the_same_samples(reader, table)
    lost = {Pairing("edge", "muse-scenes", rival) for rival in ("shuffled", "llamagen-scenes")}
    assert better == lost
    cell = "not `shuffled`†, `blank`"
    assert f"| `muse-scenes` | – | – | {cell} | – |" in beaten(table, better)


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
    assert lines[4].endswith("| 0.00 |")


def test_only_what_stands_between_the_marks_changes() -> None:
    text = f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n"
    assert replace(text, "new") == f"before\n{readme.BEGIN}\n\nnew\n{readme.END}\nafter\n"
    with pytest.raises(UserError, match="has no lines"):
        replace("no marks", "new")
