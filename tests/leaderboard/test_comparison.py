"""Budgets side by side or apart, and the points of the chart."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from editar_bench.store import Reader, Store
from leaderboard.comparison import Cost, budgets, costs, name_places, points, recorded
from leaderboard.queries import columns_of
from tests.leaderboard.conftest import CLIP, SECONDS, TRAINING, make_aggregate
from tests.leaderboard.test_pages import Open, opened, text

__all__ = ["opened"]


def cost(model: str, flops: float | None) -> Cost:
    rest = {"parameters": 1, "samples": 1, "minutes": 1.0, "hardware": "a CPU", "seeds": 1}
    return Cost(model=model, flops=flops, **rest)  # type: ignore[arg-type]


def names(found: tuple[Cost, ...]) -> list[str]:
    return [one.model for one in found]


def test_a_tenth_more_is_still_equal_and_more_is_not() -> None:
    divided = budgets([cost("b", 110.0), cost("a", 100.0), cost("c", 111.0), cost("d", None)])
    assert names(divided.compared) == ["a", "b"]
    assert names(divided.apart) == ["c", "d"]
    assert "Unequal budgets" in divided.sentence and "c, d" in divided.sentence


def test_equal_budgets_need_no_warning() -> None:
    divided = budgets([cost("a", 100.0), cost("b", 100.0)])
    assert divided.sentence == "2 models at the common budget of 1e+02 operations."


def test_uncounted_models_are_never_compared() -> None:
    divided = budgets([cost("a", None)])
    assert not divided.compared and "nothing can be compared" in divided.sentence


def test_models_without_a_training_record_have_no_cost() -> None:
    found = costs({"editar": {"training": TRAINING}, "codec": {"settings": {}}})
    assert names(tuple(found)) == ["editar"]
    assert found[0].flops == TRAINING["flops"]


@pytest.mark.parametrize("lacking", ["parameters", "samples", "minutes", "hardware"])
def test_a_plugins_record_that_lacks_a_field_is_not_listed(lacking: str) -> None:
    training = {name: value for name, value in TRAINING.items() if name != lacking}
    assert costs({"plugin": {"training": training}, "odd": {"training": "long"}}) == []


def test_a_record_counts_for_the_models_whose_rows_are_of_its_run() -> None:
    frame = pd.DataFrame(
        [("measured", "a", "1"), ("measured", "b", "2"), ("reference", "codec", "2")],
        columns=["kind", "model", "run_id"],
    )
    runs = {"1": {"a": {"x": 1}, "b": {"x": 1}}, "2": {"a": {"x": 2}, "b": {"x": 2}, "codec": {}}}
    found = recorded(frame, lambda run_id: {"provenance": {"models": runs[run_id]}})
    assert found == {"a": {"x": 1}, "b": {"x": 2}}


def test_points_join_quality_and_seconds_of_a_model(results: Path) -> None:
    reader = Reader(results)
    frame = reader.details()
    edit = frame[frame["task"] == "edit"]
    column = next(c for c in columns_of(edit, reader.metrics()) if c.metric == CLIP.name)
    table = points(edit, column).set_index("model")
    assert table.loc["editar", "value"] == 0.2 and table.loc["editar", "seconds"] == 0.2
    assert table.loc["editar", "low"] < 0.2 < table.loc["editar", "high"]
    assert table.loc["editar", "name"] == "editar (partial)"
    whole = points(edit.assign(status="ok"), column).set_index("model")
    assert whole.loc["editar", "name"] == "editar"


def test_models_without_seconds_are_left_out() -> None:
    row = {"slice": "", "metric": "m", "protocol": "p", "model": "a", "value": 1.0}
    frame = pd.DataFrame(
        [row | {"ci_low": 0.5, "ci_high": 1.5, "higher_is_better": True, "reason": ""}]
    )
    (column,) = columns_of(frame, pd.DataFrame(columns=["metric", "protocol"]))
    assert points(frame, column).empty


def test_names_of_near_dots_do_not_cover_each_other() -> None:
    names = ["editar-common", "editar-clip-teacher", "far", "muse-scenes"]
    table = pd.DataFrame({"name": names, "seconds": [0.114, 0.116, 0.114, 0.9]})
    table["value"] = [0.116, 0.116, 0.3, 0.15]
    (first, second, far, muse) = name_places(table)
    assert first[0] == second[0] == "left" and abs(first[1] - second[1]) >= 12
    assert far == first and muse[0] == "right"  # the last one would run out of the chart
    assert name_places(table[:1]) == [first]


def test_seconds_of_two_places_are_told_apart(opened: Open, results: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    shutil.copytree(results, out)
    assert "within one place" not in text(opened("pages/comparison.py", out))
    with Store.open(out) as store:
        (run_id,) = (row["run_id"] for row in store.query("SELECT run_id FROM run"))
        record = store.query("SELECT * FROM run")[0]
        noted = json.loads(record["provenance"])
        noted["models"]["pix2pix"]["training"]["flops"] = TRAINING["flops"]
        store.write_part("run", [record | {"provenance": json.dumps(noted)}])
        store.write_aggregates(
            [
                replace(make_aggregate(run_id, model, SECONDS, "edit", 0.2), reason=reason)
                for model, reason in (("editar", "on a (cpu); 1 other"), ("pix2pix", "on b (cpu)"))
            ]
        )
        store.publish()
    shown = text(opened("pages/comparison.py", out)).replace("\\", "")
    assert "Seconds compare only within one place: on a (cpu); on b (cpu)." in shown


def test_the_page_warns_of_unequal_budgets(opened: Open, results: Path) -> None:
    shown: AppTest = opened("pages/comparison.py", results)
    assert "Unequal budgets" in shown.warning[0].value and "pix2pix" in shown.warning[0].value
    assert "5.00e+13" in text(shown) and "2.50e+14" in text(shown)
