"""Every page on a small store, and sentences where there is nothing to show."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from html import escape
from io import StringIO
from pathlib import Path

import duckdb
import pandas as pd
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

import leaderboard
from editar_bench import migrations
from editar_bench.store import Reader, RunRecord, Store
from leaderboard import charts, gallery, look, queries
from leaderboard.source import VARIABLE, results_folder
from tests.leaderboard.conftest import CLIP, MSE, REASON, make_aggregate

HOME = Path(leaderboard.__file__).parent
PAGES = sorted((HOME / "pages").glob("*.py"))
Open = Callable[[str, Path], AppTest]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Open:
    def run(page: str, out: Path) -> AppTest:
        monkeypatch.setenv(VARIABLE, str(out))
        monkeypatch.setattr("sys.argv", ["app.py"])
        # A page becomes the main module; processes that other tests spawn would run it.
        monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
        return AppTest.from_file(str(HOME / page), default_timeout=30).run()

    return run


def text(page: AppTest) -> str:
    return "\n".join(
        str(element.value) for kind in (page.markdown, page.caption, page.info) for element in kind
    )


@pytest.mark.parametrize("page", ["app.py", *(f"pages/{path.name}" for path in PAGES)])
def test_every_page_runs(opened: Open, results: Path, page: str) -> None:
    shown = opened(page, results)
    assert not shown.exception
    assert not shown.info
    assert shown.title


@pytest.mark.parametrize(
    ("page", "state"),
    [
        *((f"pages/{path.name}", state) for path in PAGES for state in ("empty", "incomplete")),
        *(("app.py", state) for state in ("missing", "empty", "newer", "damaged")),
        ("pages/methods.py", "newer"),
        ("pages/runs.py", "missing"),
        ("pages/samples.py", "newer"),
    ],
)
def test_no_results_are_a_sentence(opened: Open, tmp_path: Path, page: str, state: str) -> None:
    file = tmp_path / "results.duckdb"
    expected = "there are no results at"
    if state == "damaged":
        file.write_bytes(b"x" * 5000)
        expected = "cannot be read as a results store"
    elif state != "missing":
        with Store.open(tmp_path) as store:
            store.publish()
        expected = "the results at"
    if state == "newer":
        with duckdb.connect(str(file)) as connection:
            connection.execute("UPDATE schema_version SET version = 99")
        expected = "upgrade editar-bench"
    if state == "incomplete":
        with duckdb.connect(str(file)) as connection:
            for table in ("sample", "metric", "run", "aggregate"):
                connection.execute(f"DROP TABLE {table} CASCADE")
        expected = "cannot be read as a results store"
    shown = opened(page, tmp_path)
    assert not shown.exception
    (sentence,) = shown.info
    assert expected in sentence.value


def test_a_sentence_that_quotes_a_store_from_elsewhere_holds_no_link_or_tag(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def page() -> None:
        from editar_bench.errors import UserError
        from leaderboard.source import sentences

        with sentences():
            raise UserError("no column '[a](http://x)<img>' in it")

    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])  # as in `opened`
    (sentence,) = AppTest.from_function(page).run().info
    assert "no column" in sentence.value
    assert "](" not in sentence.value and "<img>" not in sentence.value


def test_an_older_store_is_a_sentence(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(tmp_path) as store:
        store.publish()
    monkeypatch.setattr(migrations, "SCHEMA_VERSION", migrations.SCHEMA_VERSION + 1)
    shown = opened("app.py", tmp_path)
    assert not shown.exception
    assert "older editar-bench" in shown.info[0].value


def test_the_table_shows_value_interval_direction_gap_and_n(opened: Open, results: Path) -> None:
    shown = text(opened("app.py", results))
    assert "edit_mse ↓" in shown and "clip_score ↑" in shown
    assert "0.2000<small>0.1500 … 0.2500</small><small>gap closed 0.88</small>" in shown
    assert "N = 24 / 250" in shown and ">partial</span>" in shown
    assert '<td class="best"' in shown


def test_slices_stamp_the_models_of_a_part_of_the_samples(opened: Open, results: Path) -> None:
    shown = text(opened("pages/slices.py", results))
    assert re.search(r"<td>editar<span[^>]*>partial</span></td>", shown)


def test_the_rows_that_are_shown_can_be_taken_away_as_csv(
    opened: Open, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files: list[tuple[str, str]] = []
    monkeypatch.setattr(
        "streamlit.download_button",
        lambda label, data, file_name, mime: files.append((file_name, data)),
    )
    shown = opened("app.py", results)
    assert not shown.exception
    ((name, content),) = files
    rows = pd.read_csv(StringIO(content), keep_default_na=False)
    assert name == "scenes-scenes.csv" and {"model", "metric", "ci_low", "gap_closed"} <= set(rows)
    assert set(rows["slice"]) == {""}
    found = rows[(rows["metric"] == "edit_mse") & (rows["n"].astype(str) == "24")]
    assert set(found["status"]) == {"partial"}


@pytest.mark.parametrize(
    ("page", "name", "column"),
    [("pairs", "edit-comparison.csv", "model_a"), ("slices", "edit-edit_mse.csv", "slice")],
)
def test_what_other_pages_show_can_be_taken_away_too(
    opened: Open,
    results: Path,
    monkeypatch: pytest.MonkeyPatch,
    page: str,
    name: str,
    column: str,
) -> None:
    files: dict[str, str] = {}
    monkeypatch.setattr(
        "streamlit.download_button",
        lambda label, data, file_name, mime: files.update({file_name: data}),
    )
    assert not opened(f"pages/{page}.py", results).exception
    rows = pd.read_csv(StringIO(files[name]))
    assert column in rows and set(rows["metric"]) >= {"edit_mse"} and len(rows) >= 1


def test_scores_of_a_sample_say_which_way_is_better(opened: Open, results: Path) -> None:
    assert "<th>edit_mse ↓ (inside-v1)</th>" in text(opened("pages/samples.py", results))


def test_charts_say_units_and_short_titles() -> None:
    column = queries.Column(metric="m", protocol="p.v1", higher_is_better=True, unit="dB")
    frame = pd.DataFrame({"name": ["a"], "kind": ["measured"], "value": [1.0]})
    spec = charts.interval_chart(frame.assign(low=0.5, high=1.5, samples="1 / 1"), column)
    assert spec.to_dict()["layer"][0]["encoding"]["x"]["title"] == ["m ↑, dB", "p.v1"]
    effects = pd.DataFrame(
        [("m", 0.1, 0.0, 0.2, "A")], columns=["metric", "effect", "low", "high", "better"]
    )
    zero, lines, _ = charts.effect_chart(effects, "long-a", "long-b").to_dict()["layer"]
    assert zero["mark"]["color"] == look.GRAY  # black is not seen on dark pages
    assert lines["encoding"]["x"]["title"][1:] == ["← long-b better", "long-a better →"]


def test_an_unsupported_pair_is_a_dash_with_its_reason(opened: Open, results: Path) -> None:
    shown = text(opened("app.py", results))
    assert f'title="unsupported: {escape(REASON)}">–</span>' in shown
    assert (
        f"<div>– pix2pix: unsupported, {escape(REASON)}" in shown
    )  # and as text, for fingers and readers


def test_a_number_by_an_older_version_of_the_metric_is_a_dash_that_says_so(
    opened: Open, tmp_path: Path
) -> None:
    with Store.open(tmp_path) as store:
        of_model = make_aggregate("r", "editar", MSE, "edit", 0.2)
        store.write_aggregates([of_model, make_aggregate("r", "editar", CLIP, "edit", 0.3)])
        store.write_metrics([replace(MSE, version=2), CLIP])
        store.publish()
    shown = text(opened("app.py", tmp_path))
    assert "editar: outdated, made with an older version of the metric; run it again" in shown
    assert "not part of any run" not in shown


def test_two_models_are_told_apart_by_their_common_samples(opened: Open, results: Path) -> None:
    page = opened("pages/pairs.py", results)
    table = next(m.value for m in page.markdown if "<table" in m.value)
    # pix2pix failed on one of three samples; on the others its error is larger by one.
    assert (
        "<td>edit_mse ↓</td><td>1.000</td><td>2.000</td><td>-1.000 [-1.000, -1.000]</td>" in table
    )
    assert "<td>2 / 0 / 0</td><td>0.5000</td><td>0.5000</td>" in table
    page.selectbox(key="pair-b").select("blank").run()
    assert not page.exception
    table = next(m.value for m in page.markdown if "<table" in m.value)
    assert "<td>3 / 0 / 0</td><td>0.2500</td>" in table


def test_models_that_all_failed_cannot_be_compared(opened: Open, tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.write_aggregates([make_aggregate("r", "editar", MSE, "edit", None)])
        store.publish()
    shown = opened("pages/pairs.py", tmp_path)
    assert "Fewer than two models have results here" in shown.info[0].value


def test_filters_remove_models(opened: Open, results: Path) -> None:
    page = opened("app.py", results)
    page.multiselect(key="filter-model").select("editar").run()
    assert not page.exception
    assert "<td>editar<" in text(page)
    assert "<td>codec<" not in text(page)


def test_choosing_a_metric_reorders_the_table(opened: Open, results: Path) -> None:
    page = opened("app.py", results)
    table = next(m.value for m in page.markdown if "<table" in m.value)
    assert table.index("<td>editar<") < table.index("<td>pix2pix<")
    page.selectbox(key="by-edit").select("clip_score ↑ · scenes-clip-v1").run()
    assert not page.exception
    table = next(m.value for m in page.markdown if "<table" in m.value)
    assert table.index("<td>pix2pix<") < table.index("<td>editar<")


def test_published_numbers_are_off_and_apart(opened: Open, results: Path) -> None:
    page = opened("app.py", results)
    assert "arXiv 2501.04699" not in text(page)
    toggles = {toggle.label: toggle for toggle in page.toggle}
    toggles["Show published numbers"].set_value(True).run()
    assert not page.exception
    choice = next(box for box in page.selectbox if box.label == "Published table")
    choice.select("EditAR Table 1 and its successors").run()
    assert not page.exception
    assert "arXiv 2501.04699" in text(page)
    tables = [m.value for m in page.markdown if "<table" in m.value]
    assert not any("arXiv 2501.04699" in table and "editar<" in table for table in tables)


def test_samples_go_forward_and_around(opened: Open, results: Path) -> None:
    page = opened("pages/samples.py", results)
    seen = [page.subheader[0].value]
    for _ in range(3):
        next(button for button in page.button if "Next" in button.label).click().run()
        assert not page.exception
        seen.append(page.subheader[0].value)
    assert seen == [f"make object {i} red" for i in (0, 1, 2, 0)]
    next(button for button in page.button if "Previous" in button.label).click().run()
    assert page.subheader[0].value == "make object 2 red"


def test_a_click_reads_no_scores_again(
    opened: Open, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    scores = gallery.scores

    def counted(reader: Reader, output_ids: Sequence[str]) -> pd.DataFrame:
        read.append(len(output_ids))
        return scores(reader, output_ids)

    monkeypatch.setattr(gallery, "scores", counted)
    st.cache_data.clear()
    page = opened("pages/samples.py", results)
    next(button for button in page.button if "Next" in button.label).click().run()
    assert not page.exception and read == [12]


def test_a_picture_that_failed_shows_why(opened: Open, results: Path) -> None:
    page = opened("pages/samples.py", results)
    assert "No picture" not in text(page)
    page.number_input(key="place").set_value(2).run()
    assert r"No picture\: out of memory\." in text(page)


def test_a_file_that_is_gone_is_named(opened: Open, results: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    shutil.copytree(results, out)
    (out / "pictures" / "edit-0-editar.png").unlink()
    with Store.open(out) as store:
        rows = store.query("SELECT * FROM output WHERE model = 'editar'")
        store.write_part("output", [row | {"reason": None} for row in rows])  # as runs write it
        store.publish()
    shown = text(opened("pages/samples.py", out)).replace("\\", "")
    assert "The file pictures/edit-0-editar.png is missing or unreadable." in shown
    assert "No picture" not in shown


def test_a_sample_without_category_and_slices_is_shown(
    opened: Open, results: Path, tmp_path: Path
) -> None:
    out = tmp_path / "store"
    shutil.copytree(results, out)
    with Store.open(out) as store:
        (row,) = store.query("SELECT * FROM sample WHERE sample_id = 'edit-0'")
        store.write_part("sample", [row | dict.fromkeys(("category", "slices", "source_caption"))])
        store.publish()
    page = opened("pages/samples.py", out)
    assert not page.exception
    assert page.caption[1].value == r"edit\-0" and "nan" not in text(page).lower()


def test_empty_lines_in_a_text_do_not_end_a_table(opened: Open, tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        spec = {"question": "Rules:\n\n- **look**\r\n\r\n<b>"}
        record = RunRecord(suite="scenes", dataset="scenes", spec=spec, provenance={})
        store.finish_run(store.begin_run(record))
    page = opened("pages/runs.py", tmp_path)
    (table,) = (m.value for m in page.markdown if "Rules" in m.value)
    assert len(table.splitlines()) == 1 and "- **look**" in table and "&lt;b&gt;</td>" in table


def test_long_texts_are_not_squeezed_into_a_word_a_line(opened: Open, results: Path) -> None:
    shown = text(opened("pages/methods.py", results))
    assert "<td>squared error inside the mask</td>" in shown
    assert look._text_cell("word " * 20).startswith('<td class="long">')
    assert "td.long{min-width" in look._CSS and "position:sticky" in look._CSS


def test_labels_can_be_read_on_their_colors() -> None:
    def brightness(color: str) -> float:  # relative luminance, as WCAG 2 has it
        parts = [int(color[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        red, green, blue = (
            x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    colors = dict(re.findall(r"\.chip\.(\w+)\{background:#(\w{6})\}", look._CSS))
    assert set(colors) == {"measured", "reference", "reported", "partial"}
    for color in colors.values():
        assert 1.05 / (brightness(color) + 0.05) >= 4.5  # white text
    gray = brightness(look.GRAY[1:])  # of dots and lines, on a white and on a black page
    assert 1.05 / (gray + 0.05) >= 3 and (gray + 0.05) / 0.05 >= 3


def test_samples_are_filtered_and_sorted(opened: Open, results: Path) -> None:
    page = opened("pages/samples.py", results)
    choices = {box.label: box for box in page.selectbox}
    choices["Category"].select("delete").run()
    assert page.subheader[0].value == "make object 1 red"
    choices = {box.label: box for box in page.selectbox}
    choices["Category"].select("").run()
    {box.label: box for box in page.selectbox}["Sort by"].select_index(1).run()
    page.radio[0].set_value("best").run()
    assert not page.exception
    assert page.subheader[0].value == "make object 1 red"  # error 0, lower is better


def test_another_order_is_looked_at_from_its_beginning(opened: Open, results: Path) -> None:
    page = opened("pages/samples.py", results)
    page.number_input[0].set_value(2).run()
    {box.label: box for box in page.selectbox}["Sort by"].select_index(1).run()
    assert page.number_input[0].value == 1
    page.number_input[0].set_value(2).run()
    page.radio[0].set_value("best").run()
    assert page.number_input[0].value == 1 and not page.exception


def test_runs_show_provenance(opened: Open, results: Path) -> None:
    page = opened("pages/runs.py", results)
    assert "1 of 250 pictures differs" in page.warning[0].value.replace("\\", "")
    shown = text(page)
    for value in ("abc123", "editar.safetensors", "d0d0", "edit, depth", "2.15.0"):
        assert f"<td>{value}</td>" in shown


def test_methods_list_metrics(opened: Open, results: Path) -> None:
    shown = text(opened("pages/methods.py", results))
    assert "squared error inside the mask" in shown
    assert "<td>copy-source</td>" in shown


def test_the_folder_comes_from_the_command_line_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "from-variable")
    monkeypatch.setattr("sys.argv", ["app.py", "--out", "from-command", "--other"])
    assert results_folder() == Path("from-command")
    monkeypatch.setattr("sys.argv", ["app.py"])
    assert results_folder() == Path("from-variable")
    monkeypatch.delenv(VARIABLE)
    assert results_folder() == Path("results")


def test_what_was_chosen_is_still_chosen_after_a_look_at_another_page(
    opened: Open, results: Path
) -> None:
    page = opened("app.py", results)
    page.multiselect(key="filter-model").select("editar").run()
    page.switch_page("pages/samples.py").run()
    page.selectbox(key="sample-task-scenes").select("edit").run()
    page.selectbox(key="category-scenes-edit").select("add").run()
    next(button for button in page.button if "Next" in button.label).click().run()
    assert page.subheader[0].value == "make object 2 red"
    page.switch_page("pages/table.py").run()
    assert page.multiselect(key="filter-model").value == ["editar"]
    page.switch_page("pages/samples.py").run()
    assert not page.exception
    assert page.subheader[0].value == "make object 2 red"
