"""The front door's picture: tasks side by side, one row a model, samples in their places."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from editar_bench.store import Reader, Store, UserError
from leaderboard import sheet
from leaderboard.sheet import GAP, LABEL, SIDE, make_sheet


def cell(picture: Image.Image, column: int, row: int) -> np.ndarray:
    """What stands in one place, without the enlargement."""
    x, y = LABEL + column * (SIDE + GAP), row * (SIDE + GAP)
    return np.asarray(picture.crop((x, y, x + SIDE, y + SIDE)))[::8, ::8]


def stored(results: Path, name: str) -> np.ndarray:
    return np.asarray(Image.open(results / "pictures" / f"{name}.png"))


def test_condition_models_and_truth_stand_below_each_other(results: Path) -> None:
    made = make_sheet(Reader(results), results, "scenes", "scenes", 3)
    assert made.width == 2 * (LABEL + 3 * (SIDE + GAP))  # edit at the left, no edge at the right
    for column in range(3):
        assert (cell(made, column, 0) == stored(results, f"edit-{column}-condition")).all()
        assert (cell(made, column, 1) == stored(results, f"edit-{column}-editar")).all()
    failed = cell(made, 1, 2)
    assert (failed == 255).all()  # pix2pix has no second picture
    last = round(made.height / (SIDE + GAP)) - 1
    assert (cell(made, 2, last) == stored(results, "edit-2-target")).all()


def test_rows_that_say_nothing_are_left_out(results: Path, monkeypatch) -> None:
    whole = make_sheet(Reader(results), results, "scenes", "scenes", 2)
    monkeypatch.setattr(sheet, "_HIDDEN", sheet._HIDDEN | {"editar"})
    fewer = make_sheet(Reader(results), results, "scenes", "scenes", 2)
    assert whole.height - fewer.height == SIDE + GAP
    assert (cell(fewer, 0, 1) != stored(results, "edit-0-editar")).any()


def test_no_sample_is_drawn_twice(results: Path) -> None:
    made = make_sheet(Reader(results), results, "scenes", "scenes", 5)
    assert (cell(made, 2, 0) == stored(results, "edit-2-condition")).all()
    assert (cell(made, 3, 0) == 255).all()  # there are three


def test_a_store_without_pictures_is_a_sentence(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.publish()
    with pytest.raises(UserError, match="has no pictures of scenes"):
        make_sheet(Reader(tmp_path), tmp_path, "scenes", "scenes", 5)


def test_a_missing_file_is_a_sentence(results: Path, tmp_path: Path, monkeypatch) -> None:
    out = tmp_path / "store"
    shutil.copytree(results, out)
    (out / "pictures" / "edit-0-editar.png").unlink()
    monkeypatch.setattr("sys.argv", ["sheet", str(tmp_path / "sheet.png"), "--out", str(out)])
    with pytest.raises(SystemExit, match=r"sheet: .*No such file.*edit-0-editar\.png"):
        sheet.main()
