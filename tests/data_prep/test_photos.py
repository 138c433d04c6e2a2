"""Pairs from a folder of photos: captions, cutting, edges, networks, what is left out, and going on after a stop."""

from __future__ import annotations

import csv
import io
import json
import os
import pickle
from functools import partial

import numpy as np
import pyarrow.parquet
import pytest
import torch
from PIL import Image

from data_prep.paired import PairedExamples, split_path
from data_prep.photos import build as building
from data_prep.photos import listing, work
from data_prep.photos.annotators import DEPTH, LABELS
from data_prep.pool import in_order
from data_prep.row_groups import KEPT, RowGroups
from editar_bench.conditions import ADE20K_PALETTE, canny_published
from editar_bench.errors import UserError
from editar_bench.types import Task
from tests.data_prep.making import decoded, picture_bytes
from tests.data_prep.networks import save_depth_network, save_segmenter
from tests.editar_bench.calling import call


@pytest.fixture(autouse=True)
def in_process(monkeypatch):
    """Worker processes have a test of their own; each loads torch, which takes seconds."""
    monkeypatch.setattr(building, "in_order", lambda make, paths, **how: map(make, paths))


@pytest.fixture
def folder(tmp_path):
    """Six photos: two good ones, one without caption, one that is no picture, one a copy, one of a format not read."""
    photos = tmp_path / "photos"
    (photos / "b").mkdir(parents=True)
    for name, data in (
        ("a.jpg", picture_bytes(1, (700, 600))),
        ("b/c.png", picture_bytes(2, kind="PNG")),
        ("b/silent.jpg", picture_bytes(3)),
        ("broken.jpg", b"\xff\xd8 no picture"),
        ("copy.png", picture_bytes(2, kind="PNG")),
    ):
        (photos / name).write_bytes(data)
        if "silent" not in name:
            (photos / name).with_suffix(".txt").write_text(f"caption\n of {name}")
    (photos / "notes.md").write_text("not a photo")
    (photos / "old.BMP").write_bytes(picture_bytes(4, kind="BMP"))
    return photos


def made(source, out, conditions=("canny",), annotators=None):
    steps = []
    outcome = building.build(source, out, conditions, annotators or {}, steps.append, workers=1)
    return outcome, steps


def read(out, task):
    return PairedExamples(split_path(out, task, "test"), "editar-bench prepare")


def test_edges_of_good_photos_and_a_list_of_the_others(folder, tmp_path):
    outcome, steps = made(folder, tmp_path / "out")
    first, second = read(tmp_path / "out", Task.EDGE)
    assert (first.prompt, second.prompt) == ("caption of a.jpg", "caption of b/c.png")
    assert first.target_caption == first.prompt and first.source_caption is None
    assert first.target.shape == (512, 512, 3)
    large = Image.fromarray(decoded(picture_bytes(1, (700, 600)))).resize(
        (597, 512), Image.Resampling.LANCZOS
    )
    assert np.array_equal(first.target, np.asarray(large)[:, 42 : 42 + 512])
    assert np.array_equal(first.condition, canny_published(first.target))
    assert np.array_equal(second.target, decoded(picture_bytes(2, kind="PNG")))
    assert outcome.pairs == 2 and sum(steps) == 6
    with (tmp_path / "out" / "skipped.csv").open() as file:
        rows = {row["file"]: row["reason"] for row in csv.DictReader(file)}
    assert rows["b/silent.jpg"] == "has no caption"
    assert rows["copy.png"] == "is the same file as an earlier one"
    assert rows["old.BMP"] == "is a .bmp file, which is not read; save it as PNG or JPEG"
    assert "cannot be decoded" in rows["broken.jpg"] and len(rows) == 4
    assert not (tmp_path / "out" / ".parts").exists()


def test_ids_follow_the_files_content_not_its_name(folder, tmp_path):
    made(folder, tmp_path / "out")
    before = [e.id for e in read(tmp_path / "out", Task.EDGE)]
    (folder / "a.jpg").rename(folder / "z.jpg")
    (folder / "a.txt").rename(folder / "z.txt")
    made(folder, tmp_path / "out")
    after = [e.id for e in read(tmp_path / "out", Task.EDGE)]
    assert sorted(before) == sorted(after) and before != after


def test_a_stopped_run_goes_on_where_it_was(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(building, "PART", 1)
    whole = tmp_path / "whole"
    made(folder, whole)
    calls = []

    def counted(path):
        calls.append(path.name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return work.make(path, edges=True, pixels=False)

    monkeypatch.setattr(building, "in_order", lambda make, paths, **how: map(counted, paths))
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        made(folder, out)
    assert not split_path(out, Task.EDGE, "test").exists()
    outcome, steps = made(folder, out)
    assert calls == ["a.jpg", "c.png", "broken.jpg", "broken.jpg", "copy.png"]
    assert outcome.pairs == 2 and sum(steps) == 6
    assert read(out, Task.EDGE).fingerprint() == read(whole, Task.EDGE).fingerprint()


def test_a_caption_that_comes_after_a_stop_makes_no_photo_a_pair_twice(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(building, "PART", 1)
    (folder / "b" / "c.txt").rename(folder / "later")
    with monkeypatch.context() as stopped, pytest.raises(KeyboardInterrupt):
        stopped.setattr(building.paired, "concatenate", interrupted)
        made(folder, tmp_path / "out")
    (folder / "later").rename(folder / "b" / "c.txt")
    outcome, _ = made(folder, tmp_path / "out")
    assert outcome.pairs == len({example.id for example in read(tmp_path / "out", Task.EDGE)}) == 2
    assert ("copy.png", "is the same file as an earlier one") in outcome.skipped


def interrupted(*arguments):
    raise KeyboardInterrupt


def test_other_photos_do_not_replace_the_pairs(folder, tmp_path):
    made(folder, tmp_path / "out")
    other = tmp_path / "other"
    other.mkdir()
    (other / "x.jpg").write_bytes(picture_bytes(7))
    (other / "x.txt").write_text("x")
    with pytest.raises(UserError, match="holds pairs of .*photos"):
        made(other, tmp_path / "out")


def test_a_table_of_captions(tmp_path):
    for name in ("1.jpg", "2.jpg"):
        (tmp_path / name).write_bytes(b"")
    lines = [{"file_name": "1.jpg", "text": "one"}, {"file_name": "2.jpg", "caption": "two"}]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert [p.caption for p in listing.photos(tmp_path)] == ["one", "two"]
    (tmp_path / "metadata.jsonl").unlink()
    (tmp_path / "metadata.csv").write_text("file_name,text\n2.jpg,zwei\n")
    assert [p.caption for p in listing.photos(tmp_path)] == ["", "zwei"]
    (tmp_path / "metadata.csv").write_text("name\n2.jpg\n")
    with pytest.raises(UserError, match="every row needs file_name"):
        listing.photos(tmp_path)


@pytest.mark.parametrize(
    ("table", "text", "captions"),
    [
        ("metadata.jsonl", '{"file_name": "1.jpg", "text": null}', [""]),
        ("metadata.jsonl", '{"file_name": "1.jpg", "text": NaN, "caption": "one"}', ["one"]),
        ("metadata.jsonl", '{"file_name": "./1.jpg", "text": "one"}', ["one"]),
        ("metadata.jsonl", '{"file_name": "1.jpg", "text": "\\ud83d one"}', ["? one"]),
        ("metadata.csv", "file_name,text\n1.jpg\n", [""]),
        ("metadata.csv", "\ufefffile_name,text\n1.jpg,one\n", ["one"]),
        ("1.txt", "\ufeffone", ["one"]),
    ],
)
def test_captions_as_other_programs_write_them(tmp_path, table, text, captions):
    (tmp_path / "1.jpg").write_bytes(b"")
    (tmp_path / table).write_text(text, encoding="utf-8")
    assert [p.caption for p in listing.photos(tmp_path)] == captions


def test_what_the_table_leaves_out_stands_beside_the_photo(tmp_path):
    """An empty cell hides no text file, and names match however accents are spelled."""
    (tmp_path / "metadata.csv").write_text(
        "file_name,text\na.jpg,\nb.jpg,told\ncafe\u0301.jpg,an accent\n"
    )
    for name in ("a.jpg", "b.jpg", "caf\u00e9.jpg", "loud.jpg"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "a.txt").write_text("beside")
    (tmp_path / "b.txt").write_text("not this")
    (tmp_path / "loud.TXT").write_text("LOUD")
    (tmp_path / "z\u00e9bre.jpg").write_bytes(b"")
    (tmp_path / "ze\u0301bre.Txt").write_text("stripes")
    captions = {photo.name: photo.caption for photo in listing.photos(tmp_path)}
    assert list(captions.values()) == ["beside", "told", "an accent", "LOUD", "stripes"]


def test_pipes_are_never_opened_and_deep_tables_are_one_sentence(tmp_path):
    (tmp_path / "1.jpg").write_bytes(b"")
    os.mkfifo(tmp_path / "1.txt")
    os.mkfifo(tmp_path / "2.jpg")
    assert [(p.name, p.caption) for p in listing.photos(tmp_path)] == [("1.jpg", "")]
    (tmp_path / "metadata.jsonl").write_text("[" * 10**6)
    with pytest.raises(UserError, match="every row needs file_name"):
        listing.photos(tmp_path)


@pytest.mark.parametrize("damage", ["{}", '{"source": ', "[]"])
def test_a_damaged_record_is_one_sentence(folder, tmp_path, damage):
    made(folder, tmp_path / "out")
    (tmp_path / "out" / "photos.json").write_text(damage)
    with pytest.raises(UserError, match=r"photos\.json is damaged"):
        made(folder, tmp_path / "out")


@pytest.mark.parametrize("name", ["nothing", "empty"])
def test_folders_without_photos_are_one_sentence(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no folder|holds no picture"):
        listing.photos(tmp_path / name)


def test_when_no_photo_can_be_used_nothing_is_written(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "x.jpg").write_bytes(picture_bytes(1, 40))
    (tmp_path / "photos" / "x.txt").write_text("small")
    with pytest.raises(UserError, match="None of the 1 pictures .* only 40×40 pixels"):
        made(tmp_path / "photos", tmp_path / "out")
    assert not split_path(tmp_path / "out", Task.EDGE, "test").exists()


def test_a_photo_is_turned_as_its_camera_says():
    upright = Image.open(io.BytesIO(picture_bytes(3, (512, 512))))
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise
    data = io.BytesIO()
    upright.save(data, "PNG", exif=exif)
    stored, picture = work.cut(data.getvalue(), "x")
    assert np.array_equal(picture, np.rot90(np.asarray(upright), -1))
    assert np.array_equal(decoded(stored), picture)


def test_deep_pictures_and_strips_are_left_out(folder, tmp_path):
    Image.fromarray(np.full((512, 512), 3000, np.uint16)).save(folder / "deep.png")
    Image.fromarray(np.zeros((64, 1281), np.uint8)).save(folder / "strip.png")
    for name in ("deep", "strip"):
        (folder / f"{name}.txt").write_text(name)
    outcome, _ = made(folder, tmp_path / "out")
    reasons = dict(outcome.skipped)
    assert outcome.pairs == 2
    assert "deep.png has more than 8 bits a color" in reasons["deep.png"]
    assert "strip of 1281×64 pixels" in reasons["strip.png"]


def test_a_name_that_is_no_utf8_is_listed_and_the_pairs_keep_their_owner(folder, tmp_path):
    (folder / os.fsdecode(b"bad\xff.jpg")).write_bytes(b"no picture")
    made(folder, tmp_path / "out")
    listed = (tmp_path / "out" / "skipped.csv").read_text(encoding="utf-8")
    assert r"bad\udcff.jpg" in listed
    with pytest.raises(UserError, match="holds pairs of"):
        made(folder / "b", tmp_path / "out")


def test_the_owner_is_written_before_the_pairs(folder, tmp_path, monkeypatch):
    def full(*_):
        raise UserError("the disk is full")

    monkeypatch.setattr(building.paired, "concatenate", full)
    with pytest.raises(UserError, match="full"):
        made(folder, tmp_path / "out")
    with pytest.raises(UserError, match="holds pairs of"):
        made(folder / "b", tmp_path / "out")


def test_depth_and_labels_by_released_networks(folder, tmp_path, monkeypatch):
    from data_prep.photos.annotators import DepthAnnotator, LabelAnnotator

    monkeypatch.setenv("EDITAR_BENCH_WEIGHTS", str(tmp_path / "weights"))
    save_depth_network(tmp_path / "weights" / DEPTH)
    save_segmenter(tmp_path / "weights" / LABELS, classes=150)
    annotators = {Task.DEPTH: DepthAnnotator("cpu"), Task.SEGMENTATION: LabelAnnotator("cpu")}
    made(folder, tmp_path / "out", ("depth", "segmentation"), annotators)
    for example in read(tmp_path / "out", Task.DEPTH):
        gray = example.truth["control_depth"]
        assert gray.shape == (512, 512) and (gray.min(), gray.max()) == (0, 255)
        assert np.array_equal(example.condition, np.repeat(gray[..., None], 3, 2))
    for example in read(tmp_path / "out", Task.SEGMENTATION):
        label = example.truth["label"]
        assert label.min() >= 1 and label.max() <= 150
        assert np.array_equal(example.condition, np.array(ADE20K_PALETTE, np.uint8)[label])
    assert not split_path(tmp_path / "out", Task.EDGE, "test").exists()
    (again,) = annotators[Task.DEPTH]([decoded(picture_bytes(2, kind="PNG"))])
    stored = read(tmp_path / "out", Task.DEPTH)[1].truth["control_depth"]
    assert np.abs(again.astype(int) - stored).max() <= 1  # alone, not in a batch


def test_depth_runs_from_its_minimum_to_its_maximum_and_classes_from_one(tmp_path, monkeypatch):
    """Near, which the network calls large, is bright; class 0 of the network is label 1 of ADE20K."""
    from data_prep.photos.annotators import LabelAnnotator, _stretched

    depth = np.array([[1, 3], [2, 5]], np.float32)
    assert _stretched(depth).tolist() == [[0, 127], [63, 255]]
    assert _stretched(np.ones((2, 2), np.float32)) is None
    monkeypatch.setenv("EDITAR_BENCH_WEIGHTS", str(tmp_path))
    save_segmenter(tmp_path / LABELS, classes=150)
    annotator = LabelAnnotator("cpu")
    found = torch.arange(150).repeat(2, 1)
    kind = type(annotator._processor)
    monkeypatch.setattr(kind, "post_process_semantic_segmentation", lambda *_, **__: [found])
    (labels,) = annotator([decoded(picture_bytes(2, kind="PNG"))])
    assert np.array_equal(labels, found.numpy() + 1) and labels.dtype == np.uint8


def test_a_network_may_hold_a_single_number() -> None:
    import torch
    from torch import nn

    from data_prep.photos.annotators import _identity

    norms = [
        nn.BatchNorm1d(2),
        nn.BatchNorm1d(2),
    ]  # they count their batches in a tensor without axes
    assert _identity(norms[0]) == _identity(norms[1])
    norms[1].num_batches_tracked += torch.tensor(1)
    assert _identity(norms[0]) != _identity(norms[1])


def test_networks_that_are_not_there_or_not_ade20ks(tmp_path, monkeypatch):
    from data_prep.photos.annotators import DepthAnnotator, LabelAnnotator

    monkeypatch.setenv("EDITAR_BENCH_WEIGHTS", str(tmp_path))
    with pytest.raises(UserError, match=f"hf download {DEPTH}"):
        DepthAnnotator("cpu")
    save_segmenter(tmp_path / LABELS, classes=7)
    with pytest.raises(UserError, match="7 classes where ADE20K has 150"):
        LabelAnnotator("cpu")


def test_worker_processes_hand_photos_back_in_order(folder):
    paths = [folder / "b/c.png", folder / "a.jpg", folder / "missing.jpg"]
    first, second, third = in_order(partial(work.make, edges=False, pixels=False), paths, workers=2)
    assert np.array_equal(decoded(first.target), decoded(picture_bytes(2, kind="PNG")))
    assert second.target and not second.edges and second.pixels is None
    assert not third.target and "cannot be read" in third.reason


def test_the_command_makes_a_data_set_that_a_run_reads(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("EDITAR_BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("EDITAR_BENCH_WEIGHTS", str(tmp_path / "none"))
    command = ("prepare", "--from-images", str(folder), "--conditions", "canny")
    code, text, err = call(*command)
    assert code == 0 and "data    edge/photos: 2 pairs, fingerprint" in text
    assert "4 photo(s) left out" in err and "photos/skipped.csv" in err
    code, text, _ = call("overlap", str(folder), "photos")  # of the tasks that are there
    assert code == 0 and "id           2 of the test pictures (100.00%)" in text
    out = str(tmp_path / "out")
    run = ("run", "--dataset", "photos", "--task", "edge", "--model", "oracle", "--device", "cpu")
    code, text, _ = call(*run, "--out", out)
    assert code == 1 and "2/2" in text  # FID has no network here; edges need none
    rows = json.loads(
        call("report", "--out", out, "--metric", "canny_ms_ssim", "--format", "json")[1]
    )
    assert [(r["suite"], r["value"], r["n"]) for r in rows] == [("paper", 1.0, 2)]
    assert call(*command[:-1], "cany")[2].count("did you mean canny?") == 1


# --- rows on demand ---


def test_rows_are_read_a_few_groups_at_a_time(tmp_path):
    table = pyarrow.table({"n": list(range(100))})
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet", row_group_size=4)
    rows = RowGroups(tmp_path / "x.parquet", "make it")
    assert [rows[i]["n"] for i in (99, 0, 4, 3, 57)] == [99, 0, 4, 3, 57] and len(rows) == 100
    assert [rows[i]["n"] for i in range(100)] == list(range(100))
    assert len(rows._kept) == KEPT and list(rows.column("n")) == list(range(100))
    sent = pickle.loads(pickle.dumps(rows))
    assert sent[42] == {"n": 42}
