"""What the pages show, as data."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from editar_bench.store import Reader, RunRecord, Store, now, write_part
from leaderboard import gallery, queries
from leaderboard.charts import chart_frame, interval_chart
from leaderboard.look import chip, csv_of, number, plain
from tests.leaderboard.conftest import MSE, REASON, make_aggregate

MSE_KEY = ("edit_mse", "inside-v1")
CLIP_KEY = ("clip_score", "scenes-clip-v1")
TIME_KEY = ("seconds_per_image", "wall")


@pytest.fixture(scope="module")
def reader(results: Path) -> Reader:
    return Reader(results)


@pytest.fixture(scope="module")
def details(reader: Reader) -> pd.DataFrame:
    return reader.details()


@pytest.fixture(scope="module")
def metrics(reader: Reader) -> pd.DataFrame:
    return reader.metrics()


def of_task(details: pd.DataFrame, task: str) -> pd.DataFrame:
    return details[details["task"] == task]


def test_tasks_are_in_the_projects_order(details: pd.DataFrame) -> None:
    assert queries.places(details) == [("scenes", "scenes")]
    assert queries.tasks_in(details) == ["edit", "depth"]


def test_models_stand_before_references_best_first(
    details: pd.DataFrame, metrics: pd.DataFrame
) -> None:
    edit = of_task(details, "edit")
    grid = queries.grid(edit, metrics)
    assert [column.key for column in grid.columns] == [
        MSE_KEY,
        CLIP_KEY,
        TIME_KEY,
    ]  # the one with a gap first
    assert [row.model for row in grid.rows] == ["editar", "pix2pix", "codec", "blank"]
    by_clip = queries.grid(edit, metrics, grid.columns[1])
    assert [row.model for row in by_clip.rows] == ["pix2pix", "editar", "codec", "blank"]


def test_the_best_measured_model_is_marked_by_the_metrics_direction(
    details: pd.DataFrame, metrics: pd.DataFrame
) -> None:
    rows = {row.model: row for row in queries.grid(of_task(details, "edit"), metrics).rows}
    best = {(model, key) for model, row in rows.items() for key, c in row.cells.items() if c.best}
    # codec (0.1) and blank (0.9) are better, but reference rows do not compete
    assert best == {("editar", MSE_KEY), ("pix2pix", CLIP_KEY), ("editar", TIME_KEY)}


def test_a_model_on_fewer_samples_does_not_compete(
    details: pd.DataFrame, metrics: pd.DataFrame
) -> None:
    edit = of_task(details, "edit").copy()
    edit.loc[edit["model"] == "editar", "n"] = 250
    assert not any(c.best for row in queries.grid(edit, metrics).rows for c in row.cells.values())


def test_a_model_that_is_mostly_undefined_does_not_compete(
    details: pd.DataFrame, metrics: pd.DataFrame
) -> None:
    edit = of_task(details, "edit").copy()
    edit.loc[edit["model"] == "editar", ["n", "n_undefined"]] = (1, 23)
    assert not any(c.best for row in queries.grid(edit, metrics).rows for c in row.cells.values())


def test_costs_of_two_places_have_no_best(details: pd.DataFrame, metrics: pd.DataFrame) -> None:
    def best(editar: str, pix2pix: str) -> set[str]:
        edit = of_task(details, "edit").copy()
        for model, reason in (("editar", editar), ("pix2pix", pix2pix)):
            edit.loc[edit["model"] == model, "reason"] = reason
        rows = queries.grid(edit, metrics).rows
        return {row.model for row in rows if row.cells[TIME_KEY].best}

    here = "on a CPU, 2 threads (cpu), batches of 16"
    assert best(here, f"{here}; 2 failed: out of memory") == {"editar"}
    assert best(here, "on a CPU, 2 threads (cpu), batches of 8") == set()


def test_models_of_a_part_of_the_samples_stand_after_complete_ones(
    details: pd.DataFrame, metrics: pd.DataFrame
) -> None:
    edit = of_task(details, "edit").copy()
    edit.loc[edit["model"] == "pix2pix", "status"] = "ok"
    models = [row.model for row in queries.grid(edit, metrics).rows]
    assert models == ["pix2pix", "editar", "codec", "blank"]


def test_partial_rows_are_stamped_and_keep_their_gap(
    details: pd.DataFrame, metrics: pd.DataFrame
) -> None:
    row = queries.grid(of_task(details, "edit"), metrics).rows[0]
    assert (row.partial, row.n, row.n_expected) == (True, 24, 250)
    assert row.cells[MSE_KEY].gap == 0.875
    assert row.cells[CLIP_KEY].gap is None


def test_an_unsupported_pair_is_a_cell_with_its_reason(
    details: pd.DataFrame, metrics: pd.DataFrame
) -> None:
    grid = queries.grid(of_task(details, "depth"), metrics)
    row = next(row for row in grid.rows if row.model == "pix2pix")
    cell = row.cells[CLIP_KEY]
    assert (cell.value, cell.status, cell.reason) == (None, "unsupported", REASON)
    assert grid.notes == [f"pix2pix: unsupported, {REASON} (clip_score)"]


def test_a_missing_gap_is_noted_with_its_reason(
    details: pd.DataFrame, metrics: pd.DataFrame
) -> None:
    here = of_task(details, "edit").copy()
    here.loc[(here["model"] == "pix2pix") & (here["metric"] == MSE_KEY[0]), "gap_reason"] = "why"
    assert queries.grid(here, metrics).notes == [f"pix2pix: no gap, why ({MSE_KEY[0]})"]


def test_filters_narrow_and_empty_ones_do_not(details: pd.DataFrame) -> None:
    everything = queries.choose(details, models=[], kinds=[], metrics=[], protocols=[])
    assert len(everything) == len(details)
    one = queries.choose(
        details,
        models=["editar", "codec"],
        kinds=["reference"],
        metrics=[],
        protocols=["inside-v1"],
    )
    assert set(one["model"]) == {"codec"}
    assert set(one["metric"]) == {"edit_mse"}


def test_reported_rows_are_never_in_a_table(details: pd.DataFrame) -> None:
    reported = details.assign(kind="reported", model="EditAR")
    both = pd.concat([details, reported])
    assert "EditAR" not in set(queries.at_place(both, "scenes", "scenes")["model"])
    assert queries.places(reported) == []


def test_slices_come_seen_first_with_the_whole(
    details: pd.DataFrame, metrics: pd.DataFrame
) -> None:
    edit = of_task(details, "edit")
    column = queries.columns_of(edit, metrics)[0]
    names, rows = queries.slice_grid(edit, column)
    assert names == ["", "seen", "unseen", "add"]
    values = [rows[0].cells[name, "inside-v1"].value for name in names]
    assert values == pytest.approx([0.2, 0.2, 0.22, 0.21])


def test_goodness_turns_with_the_direction() -> None:
    assert queries.goodness([1.0, 3.0, None, 2.0], True) == [0.0, 1.0, None, 0.5]
    assert queries.goodness([1.0, 3.0, None, 2.0], False) == [1.0, 0.0, None, 0.5]
    assert queries.goodness([2.0, 2.0], True) == [0.5, 0.5]
    assert queries.goodness([None], True) == [None]


def test_the_chart_has_a_dot_for_each_value(details: pd.DataFrame, metrics: pd.DataFrame) -> None:
    grid = queries.grid(of_task(details, "depth"), metrics)
    frame = chart_frame(grid, grid.columns[0])
    assert list(frame["model"]) == ["editar", "codec", "blank"]
    assert frame.loc[0, ["low", "value", "high"]].tolist() == pytest.approx([0.15, 0.2, 0.25])
    spec = interval_chart(frame, grid.columns[0]).to_dict()
    assert [layer["mark"]["type"] for layer in spec["layer"]] == ["rule", "circle"]


def test_the_chart_says_which_dots_are_of_a_part_of_the_samples(
    details: pd.DataFrame, metrics: pd.DataFrame
) -> None:
    grid = queries.grid(of_task(details, "edit"), metrics)
    frame = chart_frame(grid, grid.columns[0])
    names = list(frame["name"])
    stamped = [row.model + " (partial)" if row.partial else row.model for row in grid.rows]
    assert names == stamped and "editar (partial)" in names
    spec = interval_chart(frame, grid.columns[0]).to_dict()
    assert {layer["encoding"]["y"]["field"] for layer in spec["layer"]} == {"name"}


def test_published_numbers_carry_source_and_mark() -> None:
    rows = queries.reported_rows()
    editar = {row["metric"]: float(row["value"]) for row in rows if row["model"] == "EditAR"}
    assert editar["pie_psnr_unedit"] == 21.32
    assert all(row["source"] and row["mark"] for row in rows)
    assert {row["higher_is_better"] for row in rows} == {"true", "false"}
    for path in queries.REPORTED.glob("*.csv"):  # every line has every field
        with path.open(newline="", encoding="utf-8") as file:
            assert len({len(line) for line in csv.reader(file)}) == 1


def test_outputs_of_earlier_settings_come_back_when_they_are_summed_up_again(tmp_path) -> None:
    def shown(*summed: str) -> list[str]:
        with Store.open(tmp_path) as store:
            for key in summed:
                run_id = store.begin_run(
                    RunRecord(suite="scenes", dataset="scenes", spec={}, provenance={})
                )
                row = make_aggregate(run_id, "editar", MSE, "edit", 0.2)
                store.write_aggregates([replace(row, model_key=key)])
                store.finish_run(run_id)
            store.ingest()
            store.publish()
        outputs = gallery.outputs(Reader(tmp_path), "scenes", "scenes", "edit", "f")
        return list(outputs["output_id"])

    for key in ("old", "new"):
        output = {
            "output_id": key, "suite": "scenes", "task": "edit", "dataset": "scenes", "dataset_fingerprint": "f",
            "model": "editar", "model_key": key, "kind": "measured", "sample_id": "edit-0", "repeat": 0, "status": "ok",
            "created_at": now(),
        }  # fmt: skip
        write_part(tmp_path, "output", [output])
    assert shown() == ["new"]  # a run that is not finished shows what it has
    assert shown("old", "new") == ["new"]
    assert shown("old") == ["old"]


def test_samples_outputs_and_scores_belong_together(reader: Reader) -> None:
    samples = gallery.samples(reader, "scenes", "scenes", "edit")
    assert list(samples["sample_id"]) == ["edit-0", "edit-1", "edit-2"]
    outputs = gallery.outputs(reader, "scenes", "scenes", "edit", "f")
    assert len(outputs) == 12
    assert gallery.outputs(reader, "scenes", "scenes", "edit", "other").empty
    editar = outputs[outputs["model"] == "editar"]
    scores = gallery.scores(reader, list(editar["output_id"]))
    joined = scores.merge(editar, on="output_id").set_index("sample_id")["value"]
    assert dict(joined) == {"edit-0": 1.0, "edit-1": 0.0, "edit-2": 1.0}


def test_samples_are_picked_by_category_and_slice(reader: Reader) -> None:
    samples = gallery.samples(reader, "scenes", "scenes", "edit")
    assert gallery.slices_of(samples) == ["seen", "unseen"]
    picked = gallery.pick_samples(samples, category="add", in_slice="seen")
    assert list(picked["sample_id"]) == ["edit-0"]
    assert len(gallery.pick_samples(samples)) == 3


@pytest.mark.parametrize(
    ("best_first", "higher", "order"),
    [(True, True, "cab"), (False, True, "acb"), (True, False, "acb"), (False, False, "cab")],
)
def test_samples_are_ordered_by_goodness_unscored_last(
    best_first: bool, higher: bool, order: str
) -> None:
    frame = pd.DataFrame({"sample_id": ["a", "b", "c"]})
    found = gallery.order_samples(
        frame, {"a": 1.0, "c": 2.0}, best_first=best_first, higher_is_better=higher
    )
    assert "".join(found["sample_id"]) == order


def test_model_order_puts_references_last_in_their_order() -> None:
    models = [("blank", "reference"), ("z", "measured"), ("oracle", "reference"), ("a", "measured")]
    assert queries.model_order(models) == ["a", "z", "oracle", "blank"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (0.0, "0"),
        (0.123456, "0.1235"),
        (21.32, "21.32"),
        (1234.56, "1,235"),
        (-0.5, "-0.5000"),
        (1e-9, "1.00e-09"),
        (0.00012344, "0.0001234"),
        (0.00001234, "1.23e-05"),
    ],
)
def test_numbers_have_four_digits(value: float | None, text: str) -> None:
    assert number(value) == text


def test_markdown_is_taken_literally() -> None:
    assert plain("a [red] cube: *5*") == r"a \[red\] cube\: \*5\*"


def test_what_is_taken_away_and_shown_computes_and_marks_nothing() -> None:
    frame = pd.DataFrame({"model": ["=1+1", None, "m"], "value": [-1.5, None, 2.0]})
    assert csv_of(frame) == "model,value\n'=1+1,-1.5\n,\nm,2.0\n"
    assert chip("a", '"><b>') == '<span class="chip &quot;&gt;&lt;b&gt;">a</span>'


def test_no_side_of_a_picture_is_enlarged_beyond_the_page() -> None:
    assert gallery.enlarged(np.zeros((64, 64, 3), np.uint8), 256).shape == (256, 256, 3)
    assert gallery.enlarged(np.zeros((3000, 1, 3), np.uint8), 256).shape == (3000, 1, 3)


@pytest.mark.parametrize(
    "path", ["../secret.png", "pictures/../../secret.png", "/etc/secret.png", "link.png", "", None]
)
def test_only_files_among_the_pictures_are_shown(tmp_path: Path, path: str | None) -> None:
    out = tmp_path / "out"
    (out / "pictures" / "ab").mkdir(parents=True)
    (tmp_path / "secret.png").touch()
    (out / "link.png").symlink_to(tmp_path / "secret.png")
    (out / "pictures" / "link.png").symlink_to(tmp_path / "secret.png")
    assert gallery.picture_file(out, path) is None
    assert gallery.picture_file(out, "pictures/link.png") is None
    inside = gallery.picture_file(out, "pictures/ab/x.png")
    assert inside == (out / "pictures" / "ab" / "x.png").resolve()
