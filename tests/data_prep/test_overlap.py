"""Which test pictures a training set holds: by id, by pixels, nearly."""

from __future__ import annotations

import io
import os

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from data_prep import coco_stuff, magicbrush, overlap
from data_prep.paired import features, split_path, write_rows
from editar_bench.errors import UserError
from editar_bench.types import Task
from tests.data_prep.making import decoded, picture_bytes, shard
from tests.editar_bench.calling import call


def photo(seed, side=256):
    """Soft structure over noise, as photos have: random flat patches would all look alike."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)


def encoded(image, kind="PNG", **how):
    data = io.BytesIO()
    image.save(data, kind, **how)
    return data.getvalue()


def write(folder, **pictures):
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in pictures.items():
        (folder / name.replace("__", ".")).write_bytes(data)
    return folder


def found(train, test, **how):
    report = overlap.compare(train, test, workers=1, **how)
    return report, {(m.kind, m.test, m.train) for m in report.matches}


def test_ids_pixels_and_near_duplicates(tmp_path):
    test = write(
        tmp_path / "test",
        **{
            "000042__jpg": encoded(photo(1)),
            "b__png": encoded(photo(2)),
            "c__png": encoded(photo(3)),
        },
    )
    smaller = photo(3).resize((200, 200))
    train = write(
        tmp_path / "train",
        **{
            "42__png": encoded(photo(10)),  # another picture with the same id
            "x__png": encoded(photo(2), compress_level=9),  # other bytes, the same pixels
            "y__jpg": encoded(ImageEnhance.Brightness(smaller).enhance(1.1), "JPEG", quality=70),
            "z__png": encoded(photo(11)),
        },
    )
    report, matches = found(train, test)
    assert matches == {
        ("id", "000042.jpg", "42.png"),
        ("exact", "b.png", "x.png"),
        ("near", "c.png", "y.jpg"),
    }
    assert (report.test, report.train, report.unreadable) == (3, 4, 0)
    assert [report.hit(kind) for kind in ("id", "exact", "near")] == [1, 1, 1]
    assert all(0 <= m.distance <= overlap.NEAR for m in report.matches if m.kind == "near")


def test_unrelated_photos_are_far_apart():
    hashes = np.array([overlap.perceptual_hash(np.asarray(photo(i))) for i in range(60)], np.uint64)
    distances = overlap.bit_count(hashes[:, None] ^ hashes[None])
    assert distances[~np.eye(60, dtype=bool)].min() > 2 * overlap.NEAR
    assert not distances.diagonal().any()


def test_bits_are_counted():
    values = np.random.default_rng(0).integers(0, 2**63, 50, dtype=np.uint64) * 2 + 1
    assert list(overlap.bit_count(values)) == [int(v).bit_count() for v in values]


def test_flat_pictures_match_only_exactly(tmp_path):
    gray = Image.new("RGB", (64, 64), (90, 90, 90))
    test = write(tmp_path / "test", a__png=encoded(gray))
    other = Image.new("RGB", (64, 64), (91, 91, 91))
    train = write(tmp_path / "train", p__png=encoded(other), q__png=encoded(gray))
    assert found(train, test)[1] == {("exact", "a.png", "q.png")}


def test_shards_of_the_hub_and_paired_files(tmp_path):
    rows = [
        {"id": "s-1", "condition": encoded(photo(1)), "target": encoded(photo(2))},
        {"id": "s-2", "condition": encoded(photo(3)), "target": None},
    ]
    common = {"prompt": "", "source_caption": None, "target_caption": None, "category": ""}
    edit = [common | row | {"task": "edit", "edit_mask": None, "slices": []} for row in rows]
    write_rows(edit, split_path(tmp_path / "test", Task.EDIT, "test"), features())
    shard(
        tmp_path / "train" / "data" / "train-00000-of-00001.parquet",
        [
            {"img_id": "7", "source_img": encoded(photo(3)), "mask_img": encoded(photo(2))},
            {"img_id": "8", "source_img": encoded(photo(2)), "mask_img": b"broken"},
            {"img_id": "9", "source_img": b"broken", "mask_img": encoded(photo(1))},
        ],
    )
    report, matches = found(tmp_path / "train", tmp_path / "test")
    assert matches == {
        ("exact", "s-1 (target)", "8 (source_img)"),
        ("exact", "s-2 (condition)", "7 (source_img)"),
    }
    assert (report.test, report.train, report.unreadable) == (3, 2, 1)


def test_pipes_and_broken_links_are_left_out(tmp_path):
    train = write(tmp_path / "train", a__png=encoded(photo(1)))
    os.mkfifo(train / "pipe.png")
    os.mkfifo(train / "pipe.parquet")
    (train / "link.png").symlink_to("nowhere")
    test = write(tmp_path / "test", b__png=encoded(photo(1)))
    assert found(train, test)[1] == {("exact", "b.png", "a.png")}


def test_conditions_of_other_tasks_are_no_photos(tmp_path):
    common = {"prompt": "", "source_caption": None, "target_caption": None, "category": ""}
    row = common | {"id": "d", "task": "depth", "edit_mask": None, "slices": []}
    row |= {"condition": encoded(photo(1)), "target": encoded(photo(2))}
    write_rows([row], split_path(tmp_path / "test", Task.DEPTH, "test"), features())
    train = write(tmp_path / "train", a__png=encoded(photo(1)), b__png=encoded(photo(2)))
    assert found(train, tmp_path / "test")[1] == {("exact", "d (target)", "b.png")}


def test_prepared_sets_keep_the_ids_of_their_source(tmp_path):
    """Renumbered rows still match by what COCO calls the photo, prepared or as the hub has them."""
    seg = np.zeros((64, 64), np.uint8).tolist()
    row = {"control_seg": picture_bytes(2, kind="PNG"), "panoptic_seg_map": seg, "prompt": "a dog"}
    paths = ("val2017/000000327681.jpg", "val2017/000000000042.jpg")
    coco = [row | {"image": picture_bytes(i), "image_path": p} for i, p in enumerate(paths)]
    shard(tmp_path / "coco/validation-00000-of-00001.parquet", coco)
    coco_stuff.build(tmp_path / "coco", tmp_path / "test")
    turn = {"turn_index": 1, "instruction": "x", "source_img": picture_bytes(8, 40, "PNG")}
    turn |= {"img_id": "327681", "target_img": picture_bytes(9, 40, "PNG")}
    shard(tmp_path / "brush/data/dev-00000-of-00001.parquet", [turn])
    magicbrush.build(tmp_path / "brush", tmp_path / "train")
    for train, name in (
        (tmp_path / "train", "magicbrush-327681-1"),
        (tmp_path / "brush", "327681"),
    ):
        report, matches = found(train, tmp_path / "test")
        kinds = {m for m in matches if m[0] == "id"}
        columns = ("condition", "target") if name[0] == "m" else ("source_img", "target_img")
        assert kinds == {("id", "coco-stuff-00000 (target)", f"{name} ({c})") for c in columns}
        assert report.hit("id") == 1


def test_the_command_prints_and_writes_the_matches(tmp_path):
    test = write(tmp_path / "test", a__jpg=picture_bytes(1), b__jpg=picture_bytes(2))
    train = write(tmp_path / "train", c__png=encoded(Image.fromarray(decoded(picture_bytes(1)))))
    table = tmp_path / "matches.csv"
    code, text, _ = call("overlap", str(train), str(test), "--file", str(table))
    assert code == 0
    assert "2 test pictures, 1 training pictures" in text
    assert "exact        1 of the test pictures (50.00%)" in text
    assert table.read_text().splitlines() == ["kind,test,train,distance", "exact,a.jpg,c.png,0"]
    (tmp_path / "empty").mkdir()
    code, _, err = call("overlap", str(tmp_path / "empty"), str(test))
    assert code == 2 and "no picture in" in err
    code, _, err = call("overlap", str(train), "pie-bensh")
    assert code == 2 and "did you mean pie-bench" in err


def test_sample_zero_has_an_id_too(tmp_path):
    test = write(tmp_path / "test", **{"000000__jpg": picture_bytes(1)})
    train = write(tmp_path / "train", **{"0__jpg": picture_bytes(2)})
    assert found(train, test)[1] == {("id", "000000.jpg", "0.jpg")}
    ids = [overlap.normal_id(text) for text in ("000000.jpg", "0", "0010", "")]
    assert ids == ["0", "0", "10", ""]


@pytest.mark.parametrize(
    ("name", "words"), [("none/x.csv", "no folder"), (".", "which is a folder")]
)
def test_the_commands_file_is_looked_at_before_the_work(tmp_path, monkeypatch, name, words):
    def work(*_, **__):
        raise AssertionError("compared in vain")

    monkeypatch.setattr(overlap, "compare", work)
    place = str(tmp_path / name)
    code, text, err = call("overlap", str(tmp_path), str(tmp_path), "--file", place)
    assert code == 2 and words in err and not text


def test_a_full_disk_leaves_no_half_of_the_matches(tmp_path, monkeypatch):
    test = write(tmp_path / "test", a__jpg=picture_bytes(1))
    table = tmp_path / "matches.csv"
    table.write_text("before")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    code, _, err = call("overlap", str(test), str(test), "--file", str(table))
    assert code == 2 and "No space left" in err
    assert table.read_text() == "before" and not list(tmp_path.glob(".matches*"))


def test_a_broken_shard_is_one_sentence(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        overlap.compare(tmp_path, tmp_path, workers=1)
