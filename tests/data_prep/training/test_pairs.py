"""Each training set's rows become pairs, and what cannot be used is one sentence."""

from __future__ import annotations

import numpy as np
import pytest

from data_prep.training import coco_stuff, multigen, pipe, seed_edit
from data_prep.training.pairs import picture
from editar_bench.errors import UserError
from tests.data_prep.making import decoded, picture_bytes


def cell(seed, **how):
    return {"bytes": picture_bytes(seed, 24, **how), "path": None}


def test_depth_is_the_stored_map_in_rgb():
    row = {"image": cell(0), "control_depth": cell(1, kind="PNG", mode="L"), "text": "a dog"}
    pair = multigen.depth_pair(row)
    assert pair.text == "a dog"
    assert np.array_equal(pair.target, decoded(row["image"]["bytes"]))
    assert np.array_equal(pair.condition, decoded(row["control_depth"]["bytes"]))
    assert pair.condition.shape == (24, 24, 3)


def test_edges_are_left_to_be_drawn_from_a_tiff_too():
    row = {"image": cell(0, kind="TIFF"), "text": "a dog"}
    pair = multigen.canny_pair(row)
    assert pair.condition is None and pair.target.shape == (24, 24, 3)


def test_a_detailed_prompt_comes_first():
    row = {"image": cell(0), "control_seg": cell(1), "prompt": "a dog"}
    assert coco_stuff.pair(row).text == "a dog"
    assert coco_stuff.pair(row | {"detailed_prompt": "a brown dog"}).text == "a brown dog"


def test_pipe_serves_in_both_directions():
    row = {"source_img": cell(0), "target_img": cell(1), pipe.INSTRUCTION: "Add a red hat"}
    add, remove = pipe.add_pair(row), pipe.remove_pair(row)
    assert (add.text, remove.text) == ("Add a red hat", "Remove a red hat")
    assert np.array_equal(add.condition, decoded(row["source_img"]["bytes"]))
    assert np.array_equal(add.condition, remove.target)
    assert np.array_equal(add.target, remove.condition)


def test_seed_edit_reads_bytes_and_named_files(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "0.jpg").write_bytes(picture_bytes(0, 24))
    row = {"source_image": picture_bytes(0, 24), "target_image": cell(1), "instruction": "go"}
    named = row | {"source_image": "a/0.jpg"}
    first, second = seed_edit.pair(row), seed_edit.pair(named, pictures=tmp_path)
    assert np.array_equal(first.condition, second.condition)
    assert first.text == "go"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "no picture in image"),
        ({"bytes": None, "path": "x.jpg"}, "no picture in image"),
        (b"", "no picture in image"),
        (b"GIF89a", "cannot be decoded"),
        (picture_bytes(0, 24)[:200], "cannot be decoded"),
        ("../secret.jpg", "outside its folder"),
        ("not/there.jpg", "is missing"),
    ],
)
def test_bad_cells(value, message, tmp_path):
    with pytest.raises(UserError, match=message):
        picture({"image": value}, "image", "a set", tmp_path)


@pytest.mark.parametrize("text", [None, "", "  ", 3])
def test_rows_without_an_instruction_are_refused(text):
    row = {"source_img": cell(0), "target_img": cell(1), pipe.INSTRUCTION: text}
    for read in (pipe.add_pair, pipe.remove_pair):
        with pytest.raises(UserError, match="no text in Instruction_VLM-LLM"):
            read(row)


def test_pictures_beyond_the_limit_are_refused_before_they_are_decoded(monkeypatch):
    monkeypatch.setattr("data_prep.untrusted.MAX_PIXELS", 500)
    with pytest.raises(UserError, match="too many"):
        picture({"image": picture_bytes(0, 24)}, "image", "a set")
