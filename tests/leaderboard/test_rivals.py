"""Which rivals a model beats: touching intervals, and what the paired test says of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from editar_bench.contracts import MetricInfo
from editar_bench.seeds import seed_of
from editar_bench.statistics import mean_interval
from editar_bench.store import Aggregate, Reader, RunRecord, Store, output_id
from editar_bench.types import Task
from leaderboard.readme_tables import Table
from leaderboard.rivals import RIVALS, Pairing, beaten, better_on_the_same_samples
from tests.leaderboard.detail_rows import row


def test_rivals_are_beaten_where_no_interval_touches() -> None:
    def interval(task: str, model: str, metric: str, low: float, high: float) -> dict[str, object]:
        return row(task, model, metric, (low + high) / 2, ci_low=low, ci_high=high)

    rows = [
        interval("depth", "muse-scenes", "depth_rmse", 0.4, 0.5),
        interval("depth", "shuffled", "depth_rmse", 0.6, 0.7),
        interval("depth", "blank", "depth_rmse", 0.5, 0.8),  # touches
        interval("depth", "llamagen-scenes", "depth_rmse", 0.1, 0.2),  # better
        interval("edge", "muse-scenes", "edge_f1", 0.4, 0.5),
        *(interval("edge", rival, "edge_f1", 0.1, 0.39) for rival in RIVALS),
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
