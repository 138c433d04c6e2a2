"""PIE-Bench is read from its original layout, and what is not PIE-Bench is refused."""

from __future__ import annotations

import json

import datasets
import numpy as np
import pytest

from data_prep import pie_bench
from data_prep.masks import decode_runs
from data_prep.paired import PairedExamples
from editar_bench.errors import UserError
from editar_bench.types import Task
from tests.data_prep.making import decoded, picture_bytes, pie_archive, pie_item

KEYS = ("111000000000", "922000000003")
STYLE = "9_change_style_80/2_natural/4_outdoor/922000000003.jpg"


def archive(folder, **second):
    style = pie_item(image_path=STYLE, editing_type_id="9", mask=[0, 512 * 512]) | second
    return pie_archive(folder, **{KEYS[0]: pie_item(), KEYS[1]: style})


def built(original, folder):
    return PairedExamples(pie_bench.build(original, folder), "editar-bench prepare")


def test_samples_are_read_as_published(tmp_path):
    examples = built(archive(tmp_path / "original"), tmp_path / "data")
    first, second = examples
    assert (first.id, first.task, first.category) == (
        "pie-bench-111000000000",
        Task.EDIT,
        "change object",
    )
    assert first.prompt == "Change the cat to a dog"
    assert first.source_caption == "a cat sitting on a bench"  # brackets leave no space behind
    assert first.target_caption == "a dog sitting on a bench"
    assert first.blend_words == second.blend_words == ("cat", "dog")
    assert np.array_equal(first.condition, decoded(picture_bytes(0)))
    assert first.target is None and first.truth == {}
    assert (first.slices, second.slices) == (("artificial",), ("natural",))
    assert second.category == "change style" and second.edit_mask.all()
    inner = first.edit_mask[1:-1, 1:-1]
    assert inner.sum() == 40 and first.edit_mask[1, 488:508].all()


def test_the_published_types_and_their_number():
    """Of github.com/cure-lab/PnPInversion: the names of the folders, by `editing_type_id`."""
    names = "random, change object, add object, delete object, change content, change pose, change color, "
    names += "change material, change background, change style"
    assert ", ".join(pie_bench.TYPES) == names
    assert (pie_bench.COUNT, pie_bench.SIDE) == (700, 512)


def test_any_tool_reads_the_file(tmp_path):
    pie_bench.build(archive(tmp_path / "original"), tmp_path / "data")
    rows = datasets.load_dataset(str(tmp_path / "data" / "edit"), cache_dir=str(tmp_path / "c"))
    assert len(rows["test"]) == 2
    assert rows["test"][0]["condition"].size == (512, 512)


def test_the_fingerprint_follows_the_content(tmp_path):
    one = built(archive(tmp_path / "a"), tmp_path / "da").fingerprint()
    assert one == built(archive(tmp_path / "b"), tmp_path / "db").fingerprint()
    other = archive(tmp_path / "c", mask=[0, 512 * 500])
    assert one != built(other, tmp_path / "dc").fingerprint()
    other = archive(tmp_path / "d", blended_word="cat puppy")
    assert one != built(other, tmp_path / "dd").fingerprint()


@pytest.mark.parametrize("text", ["", "cat", None, 3])
def test_samples_without_a_pair_of_words_have_none(tmp_path, text):
    _, second = built(archive(tmp_path / "original", blended_word=text), tmp_path / "data")
    assert second.blend_words is None


def published_decode(runs, height, width):
    """The published steps, one pixel after the other."""
    flat = [0] * (height * width)
    for i in range(0, len(runs), 2):
        for j in range(min(runs[i + 1], height * width - runs[i])):
            flat[runs[i] + j] = 1
    mask = np.array(flat).reshape(height, width)
    mask[0, :] = mask[-1, :] = 1
    mask[:, 0] = mask[:, -1] = 1
    return mask.astype(bool)


@pytest.mark.parametrize(
    "runs",
    [
        [],
        [20, 5],
        [20, 9, 24, 9],  # overlapping
        [40, 3, 20, 3],  # not in order
        [90, 500],  # beyond the end
        [5000, 3],  # begins beyond the end
        [30, 0],
    ],
)
def test_masks_decode_as_the_published_loop(runs):
    assert np.array_equal(decode_runs(runs, 9, 12), published_decode(runs, 9, 12))


@pytest.mark.parametrize("seed", range(5))
def test_random_masks_decode_as_the_published_loop(seed):
    runs = np.random.default_rng(seed).integers(0, 60, 24).tolist()
    assert np.array_equal(decode_runs(runs, 20, 30), published_decode(runs, 20, 30))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": [1, 2, 3]}, "damaged"),
        ({"mask": [-5, 2]}, "damaged"),
        ({"mask": [0.5, 2.0]}, "damaged"),
        ({"mask": None}, "damaged"),
        ({"mask": "1 2"}, "damaged"),
        ({"mask": [10**30, 2]}, "damaged"),
        ({"editing_type_id": "12"}, "not 0 to 9"),
        ({"editing_type_id": 1}, "not 0 to 9"),
        ({"editing_instruction": None}, "another data set"),
        ({"editing_prompt": "half a smile \ud83d"}, "cannot be read"),
    ],
)
def test_what_is_not_pie_bench_is_refused(tmp_path, change, message):
    original = archive(tmp_path / "original", **change)
    with pytest.raises(UserError, match=message):
        pie_bench.build(original, tmp_path / "data")
    assert not list((tmp_path / "data").rglob("*.*"))  # nothing half written


@pytest.mark.parametrize("name", ["../../secret.jpg", "/etc/hostname"])
def test_names_that_lead_out_of_the_archive_are_refused(tmp_path, name):
    original = archive(tmp_path / "original")
    items = json.loads((original / "mapping_file.json").read_text())
    items[KEYS[1]]["image_path"] = name
    (original / "mapping_file.json").write_text(json.dumps(items))
    with pytest.raises(UserError, match="outside"):
        list(pie_bench.rows(original))


def test_missing_damaged_and_oddly_sized_pictures_are_one_sentence(tmp_path):
    original = archive(tmp_path / "original")
    path = original / "annotation_images" / STYLE
    path.write_bytes(picture_bytes(1)[:900])
    with pytest.raises(UserError, match="cannot be decoded"):
        list(pie_bench.rows(original))
    path.write_bytes(picture_bytes(1, (512, 400)))
    with pytest.raises(UserError, match="512×400"):
        list(pie_bench.rows(original))
    path.unlink()
    with pytest.raises(UserError, match="missing"):
        list(pie_bench.rows(original))


def test_gray_files_become_rgb(tmp_path):
    original = archive(tmp_path / "original")
    path = original / "annotation_images" / STYLE
    path.write_bytes(picture_bytes(1, mode="L"))
    _, second = built(original, tmp_path / "data")
    assert second.condition.shape == (512, 512, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": {}, "a": {}}', "twice"),
        ("[1]", "no annotations"),
        ("{}", "no annotations"),
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
    ],
)
def test_a_broken_mapping_file_is_one_sentence(tmp_path, text, message):
    (tmp_path / "mapping_file.json").write_text(text)
    with pytest.raises(UserError, match=message):
        list(pie_bench.rows(tmp_path))


def test_a_missing_archive_says_where_it_comes_from(tmp_path):
    with pytest.raises(UserError, match="PnPInversion"):
        list(pie_bench.rows(tmp_path))
