"""Hub data sets are read from copies of their repositories, with their known traps."""

from __future__ import annotations

import io
import struct

import numpy as np
import pyarrow.parquet
import pytest
from datasets import Image as Feature
from PIL import Image, PngImagePlugin

from data_prep import ade20k, coco_stuff, emu_edit, hub_copy, magicbrush, multigen
from data_prep.paired import PairedExamples
from editar_bench.conditions import canny_published
from editar_bench.errors import UserError
from editar_bench.types import Task
from tests.data_prep.making import decoded, picture_bytes, shard


def read(path):
    return PairedExamples(path, "editar-bench prepare")


def gray_bytes(seed, size=512):
    levels = np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(levels).resize((size, size)).convert("RGB").save(data, "PNG")
    return data.getvalue()


# --- MultiGen ---


def depth_row(seed, **changes):
    row = {"image": picture_bytes(seed), "control_depth": gray_bytes(seed), "text": f"n {seed}"}
    return row | changes


def test_depth_shards_are_read_in_order_and_only_those_of_the_split(tmp_path):
    shard(tmp_path / "data/validation-00001-of-00002.parquet", [depth_row(2)])
    shard(tmp_path / "data/validation-00000-of-00002.parquet", [depth_row(0), depth_row(1)])
    shard(tmp_path / "data/test-00000-of-00001.parquet", [depth_row(9)])
    examples = read(multigen.build_depth(tmp_path, tmp_path / "out"))
    assert [e.prompt for e in examples] == ["n 0", "n 1", "n 2"]
    assert [e.id for e in examples] == [f"multigen-depth-0000{i}" for i in range(3)]
    last = examples[2]
    assert (last.task, last.target_caption) == (Task.DEPTH, "n 2")
    assert np.array_equal(last.target, decoded(picture_bytes(2)))
    assert np.array_equal(last.condition, decoded(gray_bytes(2)))
    assert np.array_equal(last.truth["control_depth"], decoded(gray_bytes(2))[..., 0])


def test_a_tiff_and_another_size_become_512_by_bicubic(tmp_path):
    tiff, large = picture_bytes(1, kind="TIFF"), picture_bytes(2, (700, 600), "PNG")
    rows = [depth_row(1, image=tiff), depth_row(2, image=large, control_depth=gray_bytes(2, 300))]
    shard(tmp_path / "validation-00000-of-00001.parquet", rows)
    first, second = read(multigen.build_depth(tmp_path, tmp_path / "out"))
    assert np.array_equal(first.target, decoded(tiff))
    resized = Image.fromarray(decoded(large)).resize((512, 512), Image.Resampling.BICUBIC)
    assert np.array_equal(second.target, np.asarray(resized))
    assert second.condition.shape == (512, 512, 3)
    assert second.truth["control_depth"].shape == (300, 300)  # as stored: it is scored so


def test_duplicates_stay_and_are_a_slice(tmp_path):
    rows = [depth_row(0), depth_row(1), depth_row(0, text="again")]
    shard(tmp_path / "validation-00000-of-00001.parquet", rows)
    examples = read(multigen.build_depth(tmp_path, tmp_path / "out"))
    assert [e.slices for e in examples] == [(), (), ("duplicate",)]


def test_canny_conditions_are_made_from_the_picture(tmp_path):
    blocks = np.kron(np.eye(4, dtype=np.uint8) * 200, np.ones((128, 128), np.uint8))
    row = {"image": label_png(blocks), "text": "a"}
    shard(tmp_path / "validation-00000-of-00001.parquet", [row])
    (example,) = read(multigen.build_canny(tmp_path, tmp_path / "out"))
    assert example.task == Task.EDGE
    assert np.array_equal(example.condition, canny_published(example.target))
    assert 0 < example.condition.mean() < 255


# --- segmentation ---


def labels(*values, size=64):
    return np.resize(np.array(values, dtype=np.uint8), (size, size))


def label_png(values, **how):
    data = io.BytesIO()
    Image.fromarray(values).save(data, "PNG", **how)
    return data.getvalue()


def coco_row(seg, **changes):
    row = {
        "image": picture_bytes(1),
        "control_seg": picture_bytes(2, kind="PNG"),
        "prompt": "a dog",
        "panoptic_seg_map": seg.tolist(),
        "semantic_seg_map": (seg * 0).tolist(),
    }
    return row | changes


def test_coco_labels_are_the_panoptic_lists_enlarged_without_mixing(tmp_path):
    seg = labels(0, 170, 255, 3)
    shard(tmp_path / "data/validation-00000-of-00001.parquet", [coco_row(seg)])
    (example,) = read(coco_stuff.build(tmp_path, tmp_path / "out"))
    assert example.task == Task.SEGMENTATION and example.prompt == "a dog"
    assert np.array_equal(example.truth["label"], np.repeat(np.repeat(seg, 8, 0), 8, 1))
    assert np.array_equal(example.condition, decoded(picture_bytes(2, kind="PNG")))
    assert example.target_caption == "a dog" and example.source_caption is None


def test_larger_label_maps_shrink_without_mixing(tmp_path):
    seg = np.random.default_rng(0).choice(np.array([0, 170, 255], np.uint8), (600, 700))
    made = hub_copy.label_map(seg.tolist(), "x", 170, also=255)
    # The value at the middle of each pixel of the small map, as PIL's nearest takes it.
    rows = ((np.arange(512) + 0.5) * 600 / 512).astype(int)
    columns = ((np.arange(512) + 0.5) * 700 / 512).astype(int)
    assert np.array_equal(made, seg[rows][:, columns])


def test_what_the_source_calls_a_photo_is_kept(tmp_path):
    """By it an overlap with other sets is found."""
    for module, row, name in (
        (coco_stuff, coco_row(labels(1)), "validation"),
        (ade20k, ade_row(labels(1)), "validation"),
        (multigen, depth_row(1), "validation"),
        (magicbrush, magicbrush_row(1), "dev"),
    ):
        folder = tmp_path / module.__name__
        shard(folder / f"{name}-00000-of-00001.parquet", [row | {"img_id": "4711"}])
        build = getattr(module, "build", multigen.build_depth)
        rows = pyarrow.parquet.read_table(build(folder, folder / "out"))
        assert rows["source_id"].to_pylist() == ["4711"]


@pytest.mark.parametrize(
    ("seg", "message"), [(labels(0, 171), "label space"), (labels(1, 254), "label space")]
)
def test_labels_of_another_space_are_refused(tmp_path, seg, message):
    shard(tmp_path / "validation-00000-of-00001.parquet", [coco_row(seg)])
    with pytest.raises(UserError, match=message):
        coco_stuff.build(tmp_path, tmp_path / "out")


@pytest.mark.parametrize("seg", [[[1, 2], [3]], [[1, None], [2, 3]], [[0.5]], [], None])
def test_cells_that_are_no_label_map_are_one_sentence(seg):
    with pytest.raises(UserError, match="not one number a pixel"):
        hub_copy.label_map(seg, "x", 170, also=255)


def ade_row(seg, **how):
    return {
        "image": picture_bytes(1),
        "control_seg": picture_bytes(2, kind="PNG", **how),
        "seg_map": label_png(seg),
        "prompt": "a room",
    }


def test_ade_labels_keep_zero_and_150_and_refuse_palettes(tmp_path):
    seg = labels(0, 1, 150)
    shard(tmp_path / "a/validation-00000-of-00001.parquet", [ade_row(seg)])
    (example,) = read(ade20k.build(tmp_path / "a", tmp_path / "out"))
    assert np.array_equal(np.unique(example.truth["label"]), [0, 1, 150])
    shard(tmp_path / "b/validation-00000-of-00001.parquet", [ade_row(labels(0, 151))])
    with pytest.raises(UserError, match="label space"):
        ade20k.build(tmp_path / "b", tmp_path / "out")
    colors = ade_row(seg) | {"seg_map": picture_bytes(4, kind="PNG")}
    shard(tmp_path / "c/validation-00000-of-00001.parquet", [colors])
    with pytest.raises(UserError, match="one number a pixel"):
        ade20k.build(tmp_path / "c", tmp_path / "out")


def test_ade_reads_pngs_with_long_texts_and_restores_the_guard(tmp_path):
    text = PngImagePlugin.PngInfo()
    text.add_text("note", "x" * (2 * 2**20), zip=True)
    row = ade_row(labels(1), pnginfo=text)
    shard(tmp_path / "validation-00000-of-00001.parquet", [row])
    before = PngImagePlugin.MAX_TEXT_CHUNK
    with pytest.raises(UserError, match="cannot be decoded"):
        list(ade20k.rows(tmp_path))
    (example,) = read(ade20k.build(tmp_path, tmp_path / "out"))  # decodes what was stored
    assert np.array_equal(example.condition, decoded(picture_bytes(2, kind="PNG")))
    assert before == PngImagePlugin.MAX_TEXT_CHUNK


def test_ade_reads_pngs_with_long_color_profiles(tmp_path):
    row = ade_row(labels(1), icc_profile=bytes(3 * 2**20))
    shard(tmp_path / "validation-00000-of-00001.parquet", [row])
    (example,) = read(ade20k.build(tmp_path, tmp_path / "out"))  # decodes what was stored
    assert np.array_equal(example.condition, decoded(picture_bytes(2, kind="PNG")))


# --- what pictures of any set may be like ---


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("size", [512, (600, 400)])
@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_turned_pictures_lie_as_datasets_reads_them(orientation, size, kind):
    camera = Image.Exif()
    camera[0x112] = orientation
    cell = {"bytes": picture_bytes(5, size, kind, exif=camera), "path": None}
    upright = Feature().decode_example(cell).convert("RGB")
    assert np.array_equal(hub_copy.picture(cell, "x"), upright)
    resized = upright.resize((512, 512), Image.Resampling.BICUBIC)
    assert np.array_equal(hub_copy.square(cell, "x"), resized)


def test_a_note_with_one_damaged_entry_still_turns():
    orientation = struct.pack("<HHIHH", 0x112, 3, 1, 6, 0)
    date_as_a_number = struct.pack("<HHIf", 0x132, 11, 1, 1.5)
    note = b"II*\0" + struct.pack("<IH", 8, 2) + orientation + date_as_a_number + bytes(4)
    data = picture_bytes(5, (60, 40), exif=b"Exif\0\0" + note)
    upright = np.rot90(decoded(data), -1)
    assert np.array_equal(hub_copy.picture({"bytes": data}, "x"), upright)
    assert np.array_equal(hub_copy.stored({"bytes": data}, "x"), upright)


def test_a_damaged_note_of_a_camera_turns_nothing():
    data = picture_bytes(5, exif=b"Exif\0\0II*\0 no notes")
    assert hub_copy.square({"bytes": data}, "x") == data


@pytest.mark.parametrize("size", [512, 300])
def test_more_than_eight_bits_are_refused_not_cut(size):
    levels = np.linspace(0, 65535, size * size).reshape(size, size).astype(np.uint16)
    for read_cell in (hub_copy.picture, hub_copy.square, hub_copy.stored):
        with pytest.raises(UserError, match="x has more than 8 bits a color"):
            read_cell({"bytes": label_png(levels)}, "x")


# --- edits ---


def magicbrush_row(turn):
    return {
        "img_id": "7",
        "turn_index": turn,
        "source_img": picture_bytes(turn, 40, "PNG"),
        "mask_img": picture_bytes(5, 40, "PNG"),
        "instruction": f"turn {turn}",
        "target_img": picture_bytes(turn + 1, 40, "PNG"),
    }


def test_magicbrush_turns_are_samples_of_their_own(tmp_path):
    rows = [magicbrush_row(turn) for turn in (1, 2)]
    shard(tmp_path / "data/dev-00000-of-00001.parquet", rows)
    first, second = read(magicbrush.build(tmp_path, tmp_path / "out"))
    assert (first.id, second.id) == ("magicbrush-7-1", "magicbrush-7-2")
    assert np.array_equal(first.target, second.condition)
    assert second.prompt == "turn 2" and second.slices == ("turn 2",)


def test_emu_edit_is_joined_by_key_not_by_split(tmp_path):
    row = {
        "instruction": "make it night",
        "image": picture_bytes(1, 40, "PNG"),
        "task": "global",
        "split": "test",
        "idx": 4,
        "hash": "ab12",
        "input_caption": "a street",
        "output_caption": "a street at night",
    }
    shard(tmp_path / "data/test-00000-of-00001.parquet", [row])
    shard(tmp_path / "data/validation-00000-of-00001.parquet", [row | {"idx": 5}])
    (example,) = read(emu_edit.build(tmp_path, tmp_path / "out"))
    assert example.id == "emu-edit-4-ab12" and example.category == "global"
    assert example.prompt == "make it night"
    assert (example.source_caption, example.target_caption) == ("a street", "a street at night")
    assert example.target is None
    output = row | {"split": "validation", "edited_image": None}  # the swapped name
    assert emu_edit.key(output) == emu_edit.key(row)


def test_edited_pictures_lie_upright_too(tmp_path):
    camera = Image.Exif()
    camera[0x112] = 6
    turned = picture_bytes(1, (60, 40), exif=camera)
    emu = {name: "a" for name in emu_edit.SOURCE.columns} | {"image": turned}
    brush = {"img_id": "7", "turn_index": 1, "instruction": "x"}
    brush |= {"source_img": turned, "target_img": turned}
    shard(tmp_path / "data/test-00000-of-00001.parquet", [emu])
    shard(tmp_path / "data/dev-00000-of-00001.parquet", [brush])
    (edited,) = read(emu_edit.build(tmp_path, tmp_path / "emu"))
    (turn,) = read(magicbrush.build(tmp_path, tmp_path / "brush"))
    upright = np.rot90(decoded(turned), -1)
    for found in (edited.condition, turn.condition, turn.target):
        assert np.array_equal(found, upright)


# --- what goes wrong ---


def test_missing_shards_say_how_to_fetch_them(tmp_path):
    with pytest.raises(UserError, match="prepare --dataset multigen-depth.*limingcv/MultiGen"):
        multigen.build_depth(tmp_path, tmp_path / "out")


def test_other_columns_and_broken_shards_are_one_sentence(tmp_path):
    path = tmp_path / "validation-00000-of-00001.parquet"
    shard(path, [{"image": picture_bytes(1), "text": "a"}])
    with pytest.raises(UserError, match="no column control_depth"):
        multigen.build_depth(tmp_path, tmp_path / "out")
    path.write_bytes(b"PAR1 nothing")
    with pytest.raises(UserError, match="cannot be read"):
        multigen.build_depth(tmp_path, tmp_path / "out")


@pytest.mark.parametrize("cell", [None, {"bytes": None}, {"bytes": b""}, {"bytes": b"GIF89a"}])
def test_cells_without_a_picture_are_one_sentence(cell):
    with pytest.raises(UserError, match="picture 3"):
        hub_copy.file_of(cell, "3")


def test_a_tiff_whose_data_lie_at_a_fraction_is_one_sentence():
    place_of_data = struct.pack("<HH", 273, 4)
    damaged = picture_bytes(1, 40, "TIFF").replace(place_of_data, struct.pack("<HH", 273, 5))
    with pytest.raises(UserError, match="picture 3 cannot be decoded"):
        hub_copy.file_of({"bytes": damaged}, "3")


def test_huge_pictures_are_refused(monkeypatch):
    monkeypatch.setattr("data_prep.untrusted.MAX_PIXELS", 1000)
    with pytest.raises(UserError, match="too many"):
        hub_copy.file_of({"bytes": picture_bytes(1, 40)}, "3")


def test_a_copy_without_all_its_shards_is_no_copy(tmp_path):
    for name in ("00000-of-00003", "00002-of-00003"):
        shard(tmp_path / f"data/validation-{name}.parquet", [depth_row(1)])
    assert not hub_copy.shards(tmp_path, multigen.DEPTH)
    with pytest.raises(UserError, match="There are not all files"):
        multigen.build_depth(tmp_path, tmp_path / "out")
    shard(tmp_path / "data/validation-00001-of-00003-0a1b.parquet", [depth_row(2)])
    assert len(hub_copy.shards(tmp_path, multigen.DEPTH)) == 3
