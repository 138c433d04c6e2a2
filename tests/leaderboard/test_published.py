"""Published numbers beside measured ones: same model, data, metric and protocol, or nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from editar_bench.registry import METRICS, MODELS
from editar_bench.store import Aggregate, RunRecord, Store
from leaderboard.published import SAME_MODEL, beside, gaps
from leaderboard.queries import reported_rows
from tests.editar_bench.calling import call

STRUCTURE = {
    "task": "edit",
    "dataset": "pie-bench",
    "metric": "pie_structure",
    "protocol": "dino.vitb8.keys11.in255",
}


def measured(**changes: object) -> dict[str, object]:
    row = STRUCTURE | {"slice": "", "kind": "measured", "model": "editar", "value": 41.0}
    row |= {"ci_low": 39.0, "ci_high": 43.0, "n": 700, "n_undefined": 0, "n_expected": 700}
    return row | changes


def published() -> dict[str, str]:
    (row,) = [
        r
        for r in reported_rows()
        if r["model"] == "EditAR" and all(r[k] == v for k, v in STRUCTURE.items())
    ]
    return row


def found(*rows: dict[str, object]) -> list[str]:
    (own,) = gaps([published()], pd.DataFrame(rows))
    return [f"{gap.model}: {gap.text}" for gap in own]


def test_the_gap_is_measured_minus_published_and_says_where_the_interval_lies() -> None:
    assert found(measured()) == ["editar: +1.57, inside the interval"]
    assert found(measured(value=50.0, ci_low=48.0, ci_high=52.0)) == [
        "editar: +10.57, outside the interval"
    ]
    assert found(measured(ci_low=None, ci_high=None, n=100, n_undefined=5)) == [
        "editar: +1.57, 105 of 700 samples"
    ]


def test_a_row_under_the_published_name_is_held_against_it_too() -> None:
    assert found(measured(model="EditAR")) == ["EditAR: +1.57, inside the interval"]
    (other,) = [
        r
        for r in reported_rows()
        if r["model"] == "InfEdit" and all(r[k] == v for k, v in STRUCTURE.items())
    ]
    (own,) = gaps([other], pd.DataFrame([measured(model="InfEdit")]))
    assert [gap.model for gap in own] == ["InfEdit"]


@pytest.mark.parametrize(
    "other",
    [
        {"protocol": "clean.structure"},
        {"dataset": "scenes"},
        {"metric": "pie_structure_edit"},
        {"task": "depth"},
        {"model": "magicbrush"},
        {"model": "editar:guidance=1"},
        {"slice": "change pose"},
        {"kind": "reported"},
        {"value": None},
    ],
)
def test_nothing_else_is_held_against_a_published_number(other: dict[str, object]) -> None:
    assert found(measured(**other)) == []


def test_settings_of_a_named_protocol_count_as_published_ones() -> None:
    rows = [measured(model="editar:protocol=paper"), measured(model="editar", value=39.43)]
    assert found(*rows) == [
        "editar:protocol=paper: +1.57, inside the interval",
        "editar: +0, inside the interval",
    ]


def test_the_names_are_registered_and_published_and_units_agree() -> None:
    rows = reported_rows(unverified=True)
    assert set(SAME_MODEL.values()) <= set(MODELS.names())
    assert set(SAME_MODEL) <= {row["model"] for row in rows}
    assert len(set(SAME_MODEL.values())) == len(SAME_MODEL)
    infos = {info.name: info for info in (METRICS.get(name)().info for name in METRICS.names())}
    comparable = [row for row in rows if row["metric"] in infos]
    assert len(comparable) > 100
    for row in comparable:
        info = infos[row["metric"]]
        if info.protocol == row["protocol"]:
            assert (row["unit"], row["higher_is_better"] == "true") == (
                info.unit,
                info.direction == "higher",
            )


def test_the_report_tells_the_gap(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        run_id = store.begin_run(
            RunRecord(suite="paper", dataset="pie-bench", spec={}, provenance={})
        )
        names = {k: v for k, v in measured().items() if k != "slice"} | {"model_key": "k"}
        rows = [
            Aggregate(run_id=run_id, suite="paper", version=1, higher_is_better=False, **names),  # type: ignore[arg-type]
            Aggregate(
                run_id=run_id, suite="paper", version=1, higher_is_better=False,
                **names | {"model": "blank", "kind": "reference"},  # type: ignore[arg-type]
            ),
        ]  # fmt: skip
        store.write_aggregates(rows)
        store.finish_run(run_id, "finished", "")
        store.publish()
    text = call("report", "--out", str(tmp_path))[1]
    assert "published 39.43, gap +1.57 (" in text
    told = {
        r["model"]: r
        for r in json.loads(call("report", "--out", str(tmp_path), "--format", "json")[1])
    }
    assert told["editar"]["published"] == 39.43
    assert told["editar"]["published_gap"] == pytest.approx(1.57)
    assert told["blank"]["published"] is None and told["blank"]["published_source"] == ""


def test_an_empty_store_has_no_gaps() -> None:
    columns = [*measured()]
    assert beside(pd.DataFrame([], columns=columns)) == {}
