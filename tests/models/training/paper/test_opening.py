"""Every source is read from its original layout, and from others that people have."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile

import numpy as np
import pytest

from data_prep.training import seed_edit
from editar_bench.conditions import canny_published
from editar_bench.errors import UserError
from models.editar.pictures import fit
from models.training.paper.opening import open_source
from models.training.paper.sources import SOURCES
from tests.data_prep.making import decoded, picture_bytes
from tests.data_prep.training import making
from tests.models.making import SIZE

BY_NAME = {source.name: source for source in SOURCES}


def test_the_published_shares_in_the_published_order():
    assert [s.share for s in SOURCES] == [0.15, 0.15, 0.15, 0.25, 0.30]
    cumulative = np.cumsum([s.share for s in SOURCES])
    assert np.allclose(cumulative, [0.15, 0.3, 0.45, 0.7, 1.0])


@pytest.mark.parametrize(
    ("name", "prompt", "way"),
    [
        ("multigen-depth", "Given the depth image, generate an image following the description: a red cube", 0),
        ("multigen-canny", "Given the canny edge image, generate an image following the description: a red cube", 0),
        ("coco-stuff", "Given the segmentation mask, generate an image following the description: a green ball", 0),
        ("pipe", "Add blue cone", 0),
        ("pipe", "Remove blue cone", 1),
        ("seed-unsplash", "make the ball bigger, number", 0),
    ],
)  # fmt: skip
def test_every_source_in_its_own_layout(root, shape, name, prompt, way):
    opened = open_source(BY_NAME[name], root / "data", shape)
    rows = list(opened.rows)
    assert len(rows) == 6 and way < opened.ways
    for row in rows:
        sample = opened.sample(row, way)
        assert sample.prompt.startswith(prompt)
        assert sample.pictures.shape == (2, SIZE, SIZE, 3) and sample.pictures.dtype == np.uint8
        assert np.array_equal(sample.crop, shape.crop(sample.pictures[1]))


def test_only_what_is_needed_is_read(root, shape):
    row = next(iter(open_source(BY_NAME["coco-stuff"], root / "data", shape).rows))
    assert set(row) == {"image", "control_seg", "prompt"}
    assert isinstance(row["image"]["bytes"], bytes)  # not decoded


def test_pictures_are_scaled_and_cut_as_published(root, shape):
    opened = open_source(BY_NAME["coco-stuff"], root / "data", shape)
    row = next(iter(opened.rows))
    sample = opened.sample(row, 0)
    for picture, column in zip(sample.pictures, ("control_seg", "image"), strict=True):
        assert np.array_equal(picture, fit(decoded(row[column]["bytes"]), SIZE))


def test_edges_are_drawn_from_the_finished_picture(root, shape):
    opened = open_source(BY_NAME["multigen-canny"], root / "data", shape)
    sample = opened.sample(next(iter(opened.rows)), 0)
    assert np.array_equal(sample.pictures[0], canny_published(sample.pictures[1]))


def test_a_copys_detailed_prompt_is_preferred(tmp_path, shape):
    making.coco_stuff(tmp_path, 2, detailed_prompt="a long story")
    opened = open_source(BY_NAME["coco-stuff"], tmp_path, shape)
    assert opened.sample(next(iter(opened.rows)), 0).prompt.endswith(": a long story")


def test_what_save_to_disk_made_is_read_too(tmp_path, shape):
    """The published trainer keeps its data so, the bytes of pictures in plain structs or columns."""
    from datasets import Dataset

    rows = [
        {
            "source_image": picture_bytes(i, 40),
            "target_image": picture_bytes(9 + i, 40),
            "instruction": f"go {i}",
            "source_caption": "",
        }
        for i in range(3)
    ]
    Dataset.from_list(rows).save_to_disk(str(tmp_path / "seed-unsplash"))
    opened = open_source(BY_NAME["seed-unsplash"], tmp_path, shape)
    assert [opened.sample(row, 0).prompt for row in opened.rows] == ["go 0", "go 1", "go 2"]


def test_without_a_copy_a_source_is_sought_on_the_hub(tmp_path, shape):
    with pytest.raises(
        UserError, match=r"pipe cannot be opened .*hf://datasets/paint-by-inpaint/PIPE"
    ):
        open_source(BY_NAME["pipe"], tmp_path, shape)
    with pytest.raises(UserError, match=r"hf download AILab-CVC/SEED-Data-Edit-Part1-Unsplash"):
        open_source(BY_NAME["seed-unsplash"], tmp_path, shape)


def test_wrong_copies_are_one_sentence(tmp_path, shape):
    (tmp_path / "pipe").mkdir()
    with pytest.raises(UserError, match="holds neither"):
        open_source(BY_NAME["pipe"], tmp_path, shape)
    (tmp_path / "pipe" / "train-0.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(UserError, match="pipe cannot be opened"):
        open_source(BY_NAME["pipe"], tmp_path, shape)
    making.multigen(tmp_path / "other", 2)
    (tmp_path / "pipe" / "train-0.parquet").unlink()
    (tmp_path / "other" / "multigen" / "data").rename(tmp_path / "pipe" / "data")
    with pytest.raises(UserError, match="no column source_img and no target_img"):
        open_source(BY_NAME["pipe"], tmp_path, shape)


@pytest.mark.parametrize("place", ["unsplash_images", "..", "../../..", "../../../unsplash_images"])
def test_pictures_are_found_wherever_the_archive_was_unpacked(tmp_path, shape, place):
    making.seed_unsplash(tmp_path, 3)
    home = tmp_path / "seed-unsplash" / "auto_editing" / "unsplash"
    unpacked = home / "images" / place
    unpacked.mkdir(parents=True, exist_ok=True)
    for name in ("before", "after"):
        (home / "images" / name).rename(unpacked / name)
    opened = open_source(BY_NAME["seed-unsplash"], tmp_path, shape)
    prompts = {opened.sample(row, 0).prompt for row in opened.rows}
    assert prompts == {f"make the ball bigger, number {i}" for i in range(3)}


def test_an_archive_that_is_still_in_pieces_is_one_sentence_with_its_commands(tmp_path, shape):
    making.seed_unsplash(tmp_path, 2)
    home = tmp_path / "seed-unsplash" / "auto_editing" / "unsplash"
    shutil.rmtree(home / "images")
    (home / "images").mkdir()
    (home / "images" / "unsplash_images.tar.gz.part-00").write_bytes(b"piece")
    with pytest.raises(UserError, match=r"must be unpacked: .*sort \| xargs cat \| tar xz -C"):
        open_source(BY_NAME["seed-unsplash"], tmp_path, shape)


def test_the_commands_that_a_message_names_make_a_copy(tmp_path, shape):
    making.seed_unsplash(tmp_path, 3)
    folder = tmp_path / "seed-unsplash"
    home = folder / "auto_editing" / "unsplash"
    with tarfile.open(tmp_path / "all.tar.gz", "w:gz") as archive:
        archive.add(home / "images", "images")
    shutil.rmtree(home / "images")
    (home / "images").mkdir()
    whole = (tmp_path / "all.tar.gz").read_bytes()
    for i, part in enumerate((whole[:500], whole[500:1000], whole[1000:])):
        (home / "images" / f"unsplash_images.tar.gz.part-{i:02d}").write_bytes(part)
    command = seed_edit.how_to_prepare(folder).split("`")[3]
    subprocess.run(command, shell=True, check=True)
    opened = open_source(BY_NAME["seed-unsplash"], tmp_path, shape)
    assert len([opened.sample(row, 0) for row in opened.rows]) == 3


def test_damaged_annotations_are_one_sentence(tmp_path, shape):
    making.seed_unsplash(tmp_path, 1)
    home = tmp_path / "seed-unsplash" / "auto_editing" / "unsplash"
    (home / "annotations" / "split_0000.jsonl").write_text('{"source_image": ')
    with pytest.raises(UserError, match="is no file of JSON lines with source_image"):
        open_source(BY_NAME["seed-unsplash"], tmp_path, shape)


def test_a_damaged_line_costs_one_sample(tmp_path, shape):
    making.seed_unsplash(tmp_path, 3)
    annotations = tmp_path / "seed-unsplash" / "auto_editing" / "unsplash" / "annotations"
    path = sorted(annotations.glob("*.jsonl"))[0]
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([lines[0], lines[1][:40], b"\xff\xfe", *lines[1:]]) + b"\n")
    opened = open_source(BY_NAME["seed-unsplash"], tmp_path, shape)
    made = [opened.attempt(row, 0) for row in opened.rows]
    assert [isinstance(one, UserError) for one in made] == [False, True, True, False, False]


def test_a_part_of_a_copy_is_said_and_two_copies_in_one_are_refused(tmp_path, shape, capsys):
    making.pipe(tmp_path, 4)
    shards = sorted(tmp_path.rglob("train-*.parquet"))
    shards[0].unlink()
    open_source(BY_NAME["pipe"], tmp_path, shape)
    assert f"pipe: {len(shards) - 1} of {len(shards)} shards are here" in capsys.readouterr().err
    shards[-1].with_name("train-00000-of-00009.parquet").write_bytes(shards[-1].read_bytes())
    with pytest.raises(UserError, match="so not of one copy"):
        open_source(BY_NAME["pipe"], tmp_path, shape)


def test_strips_are_refused(tmp_path, shape):
    making.pipe(tmp_path, 1)
    opened = open_source(BY_NAME["pipe"], tmp_path, shape)
    row = dict(next(iter(opened.rows)))
    row["source_img"] = {"bytes": picture_bytes(0, (2000, 10))}
    with pytest.raises(UserError, match="2000×10 pixels is too long"):
        opened.sample(row, 0)


def test_names_that_lead_out_of_the_archive_are_refused(tmp_path, shape):
    making.seed_unsplash(tmp_path, 1)
    lines = tmp_path / "seed-unsplash" / "auto_editing" / "unsplash" / "annotations"
    line = json.loads((lines / "split_0000.jsonl").read_text())
    (lines / "split_0000.jsonl").write_text(json.dumps(line | {"source_image": "../../x.jpg"}))
    opened = open_source(BY_NAME["seed-unsplash"], tmp_path, shape)
    with pytest.raises(UserError, match="outside its folder"):
        opened.sample(next(iter(opened.rows)), 0)
