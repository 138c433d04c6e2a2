"""Training sets become paired samples shard by shard, and nothing is made twice."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from datasets import Image as Feature
from PIL import Image

from data_prep import hub_copy
from data_prep.paired import PairedExamples
from data_prep.training import pipe
from data_prep.training.prepare import prepare
from data_prep.training.sets import SETS
from editar_bench.conditions import canny_published
from editar_bench.errors import UserError
from editar_bench.types import Task
from tests.data_prep.fake_hub import FakeHub, serve
from tests.data_prep.making import decoded, picture_bytes
from tests.data_prep.training import making
from tests.editar_bench.calling import call


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("EDITAR_BENCH_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def copy(folder: Path, write, place: str, **how) -> Path:
    """A copy in the source's layout at `<folder>/original`."""
    write(folder / "made", **how)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.move(folder / "made" / place, folder / "original")
    return folder


def read(folder: Path) -> list:
    files = sorted(folder.rglob("train-*-of-*.parquet"))
    files = [file for file in files if "original" not in file.parts]
    return [example for file in files for example in PairedExamples(file, "")]


def test_pipe_keeps_the_files_and_leaves_out_rows_without_an_instruction(data):
    folder = copy(data / "pipe-train", making.pipe, "pipe")
    found = prepare("pipe-train", folder)
    assert (found.rows, found.skipped, found.shards, found.all_shards) == (6, 0, 2, 2)
    first = read(folder)[0]
    assert (first.id, first.task) == ("pipe-train-00000-000000", Task.EDIT)
    assert first.prompt == "Add blue cone number 0"
    assert np.array_equal(first.condition, decoded(picture_bytes(400, 40)))
    assert np.array_equal(first.target, decoded(picture_bytes(500, 40)))


def test_rows_that_cannot_be_used_are_counted_and_a_set_of_them_is_refused(data, monkeypatch):
    folder = copy(data / "pipe-train", making.pipe, "pipe", count=4)
    real = pipe.INSTRUCTION
    texts = iter(["", "Add a hat", None, "Add a dog"])

    def cells(row, where, place):
        return SETS["pipe-train"].cells(row | {real: next(texts)}, where, place)

    kind = SETS["pipe-train"]
    broken = type(kind)(task=kind.task, source=kind.source, cells=cells)
    monkeypatch.setattr("data_prep.training.prepare.SETS", {"pipe-train": broken})
    found = prepare("pipe-train", folder)
    assert (found.rows, found.skipped) == (2, 2)
    assert found.reason.startswith("A row of row 0 of shard 0 of paint-by-inpaint/PIPE has no text")
    assert [e.id[-6:] for e in read(folder)] == ["000001", "000001"]
    texts = iter([""] * 4)
    shutil.rmtree(folder / "edit")
    with pytest.raises(UserError, match="No row of train-00000-of-00002.parquet can be used"):
        prepare("pipe-train", folder)
    assert not read(folder)


def test_instruct_pix2pix_has_both_captions(data):
    folder = copy(data / "i", making.instruct_pix2pix, "instruct-pix2pix", count=2)
    prepare("instruct-pix2pix-train", folder)
    first = read(folder)[0]
    assert first.prompt == "make it snow 0" and first.source_caption == "a photo of a hill, 0"
    assert first.target_caption == "a photo of a hill in snow, 0"
    assert np.array_equal(first.condition, decoded(picture_bytes(800, 40)))
    assert np.array_equal(first.target, decoded(picture_bytes(900, 40)))


def test_multigen_serves_depth_and_edges(data):
    depth = copy(data / "d", making.multigen, "multigen", count=2)
    edges = copy(data / "e", making.multigen, "multigen", count=2)
    prepare("multigen-depth-train", depth)
    prepare("multigen-canny-train", edges)
    (first, tiff), (drawn, _) = read(depth), read(edges)
    assert (first.task, drawn.task) == (Task.DEPTH, Task.EDGE)
    assert first.prompt == first.target_caption == drawn.prompt == "a red cube number 0"
    assert np.array_equal(first.condition, decoded(picture_bytes(100, 40, "PNG", mode="L")))
    assert np.array_equal(tiff.target, decoded(picture_bytes(1, 40, "TIFF")))
    assert drawn.target.shape == (512, 512, 3)
    assert np.array_equal(drawn.condition, canny_published(drawn.target))


def test_seed_is_read_from_the_unpacked_archive(data):
    folder = copy(data / "s", making.seed_unsplash, "seed-unsplash")
    found = prepare("seed-unsplash-train", folder)
    assert (found.rows, found.shards) == (6, 2)  # and not the seventh, which is a rewriting
    first = read(folder)[0]
    assert first.prompt == "make the ball bigger, number 0"
    assert (first.source_caption, first.target_caption) == ("a ball", "a bigger ball")
    assert np.array_equal(first.condition, decoded(picture_bytes(600, (40, 52))))
    home = folder / "original" / "auto_editing" / "unsplash"
    lines = [json.dumps({"source_image": "../../x.jpg", "target_image": "a", "instruction": "x"})]
    bad = ["no json", "[]", "[" * 50_000, json.dumps({"source_image": "before/0.jpg"})]
    with (home / "annotations" / "split_0001.jsonl").open("a") as file:
        file.write("\n".join(lines + bad))
    shutil.rmtree(folder / "edit")
    found = prepare("seed-unsplash-train", folder)
    assert (found.rows, found.skipped) == (6, 5)
    assert "outside its folder" in found.reason
    with pytest.raises(UserError, match="one archive in pieces"):
        prepare("seed-unsplash-train", data / "nothing")


def test_seed_goes_on_where_a_line_is_damaged(data):
    folder = copy(data / "s", making.seed_unsplash, "seed-unsplash")
    notes = folder / "original" / "auto_editing" / "unsplash" / "annotations"
    (first, *others) = sorted(notes.glob("*.jsonl"))
    for other in others:
        other.unlink()
    row = json.loads(first.read_text().splitlines()[0])
    half = [row | {"instruction": "a \ud83d b"}, row | {"source_caption": "\udc00"}]
    lines = ["", "{bad", row | {"source_image": "\0"}, *half, row]
    text = "\n".join(json.dumps(line) if isinstance(line, dict) else line for line in lines)
    first.write_text(text)
    found = prepare("seed-unsplash-train", folder)
    assert (found.rows, found.skipped) == (1, 4)  # an empty line is no row
    shutil.rmtree(folder / "edit")
    first.write_text("{bad")
    with pytest.raises(UserError, match="no file of JSON lines"):
        prepare("seed-unsplash-train", folder)


def test_turned_and_deep_pictures(data):
    turned = Image.Exif()
    turned[0x112] = 6
    data_of = picture_bytes(3, (60, 40), exif=turned)
    made = hub_copy.stored({"bytes": data_of}, "x")
    assert np.array_equal(made, Feature().decode_example({"bytes": data_of, "path": None}))
    turned[0x112] = 1
    kept = picture_bytes(3, (60, 40), exif=turned)
    assert hub_copy.stored({"bytes": kept}, "x") == kept
    deep = io.BytesIO()
    Image.fromarray(np.full((40, 40), 3000, np.uint16)).save(deep, "PNG")
    with pytest.raises(UserError, match="more than 8 bits"):
        hub_copy.stored({"bytes": deep.getvalue()}, "x")


def test_a_second_time_makes_only_what_is_missing_or_damaged(data, monkeypatch):
    folder = copy(data / "pipe-train", making.pipe, "pipe")
    first = prepare("pipe-train", folder)
    files = sorted((folder / "edit").glob("*.parquet"))
    assert [f.name for f in files] == [f"train-0000{i}-of-00002.parquet" for i in range(2)]
    before = [f.stat().st_mtime_ns for f in files]
    assert prepare("pipe-train", folder) == first
    assert [f.stat().st_mtime_ns for f in files] == before
    content = files[1].read_bytes()
    files[1].write_bytes(content[:-8])
    assert prepare("pipe-train", folder) == first
    assert files[1].read_bytes() == content and files[0].stat().st_mtime_ns == before[0]
    (folder / "edit" / "prepared.json").write_text("[")
    assert prepare("pipe-train", folder) == first


def test_only_the_shards_that_are_needed_are_fetched_and_they_do_not_stay(
    data, tmp_path, monkeypatch
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    making.pipe(tmp_path / "hub")
    with serve(FakeHub(tmp_path / "hub" / "pipe", pipe.REPOSITORY)) as hub:
        folder = data / "pipe-train"
        part = prepare("pipe-train", folder, limit=2, endpoint=hub.url)
        assert (part.rows, part.shards, part.all_shards) == (3, 1, 2)
        names = [f"data/train-0000{i}-of-00002.parquet" for i in range(2)]
        assert hub.sent(names[0]) and not hub.sent(names[1])
        hub.requests.clear()
        whole = prepare("pipe-train", folder, endpoint=hub.url)
        assert (whole.rows, whole.shards) == (6, 2) and not hub.sent(names[0])
        assert whole.fingerprint != part.fingerprint
        assert [p.name for p in (folder / "original").rglob("*") if p.is_file()] == ["fetched.json"]
    local = copy(data / "local", making.pipe, "pipe")
    assert prepare("pipe-train", local) == whole  # the same samples, from wherever they came


def test_the_command_and_the_overlap_with_a_test_set(data, tmp_path):
    copy(data / "pipe-train", making.pipe, "pipe")
    code, text, _ = call("overlap", "pipe-train", str(tmp_path))
    assert code == 2
    code, text, _ = call("prepare", "--dataset", "pipe-train", "--limit", "5")
    assert code == 0 and "edit/pipe-train: 6 samples of 2 of 2 shards, fingerprint" in text
    test = tmp_path / "test"
    test.mkdir()
    (test / "a.jpg").write_bytes(picture_bytes(503, 40))
    code, text, _ = call("overlap", "pipe-train", str(test))
    assert "exact        1 of the test pictures" in text and "12 training pictures" in text
    assert "pipe-train" in call("ls", "datasets")[1]
    code, _, err = call("prepare", "--dataset", "pie-bench", "--limit", "5")
    assert code == 2 and "--limit is for training sets" in err
