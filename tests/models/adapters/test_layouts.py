"""Folders as published scripts leave them."""

from __future__ import annotations

import pickle
from functools import partial

import numpy as np
import pytest
from PIL import Image

from editar_bench.errors import UserError
from editar_bench.seeds import seed_of
from editar_bench.types import Task
from models.adapters.folder import FolderOfPictures
from models.adapters.layouts import LAYOUTS
from tests.models.making import example, noise

SIZE = 16


def sample(name, task=Task.DEPTH):
    return example(0, task, id=name, condition=noise(0))


def save(path, picture):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, quality=100, subsampling=0)


def served(folder, layout, batch, repeat=0, repeats=1):
    of = partial(seed_of, 0, batch[0].task, "data")
    model = FolderOfPictures(
        folder, name="mine", task=batch[0].task, layout=layout, repeats=repeats, seed_of=of
    )
    made = model.generate(batch, [of(e.id, repeat) for e in batch])
    return [g.image for g in made]


def test_pnpinversion_takes_the_last_square_of_a_strip(tmp_path):
    tree = tmp_path / "output" / "ddim+p2p" / "annotation_images"
    panels = [noise(i) for i in range(4)]
    save(tree / "0_random_140" / "000000000007.jpg", np.concatenate(panels, axis=1))
    save(tree / "1_change_object_80" / "1_artificial" / "111000000000.png", noise(9))
    batch = [sample(f"pie-bench-{key}", Task.EDIT) for key in ("000000000007", "111000000000")]
    strip, square = served(tmp_path / "output" / "ddim+p2p", "pnpinversion", batch)
    assert np.abs(strip.astype(int) - panels[3]).mean() < 8  # jpg
    assert np.abs(strip.astype(int) - panels[2]).mean() > 30
    assert np.array_equal(square, noise(9))


def test_pnpinversion_takes_the_bottom_right_of_what_is_not_square(tmp_path):
    tree = tmp_path / "annotation_images"
    wanted = noise(1)
    height, width = wanted.shape[:2]
    large = np.zeros((height + 9, width + 5, 3), np.uint8)
    large[9:, 5:] = wanted
    save(tree / "111000000000.png", large)
    small = np.zeros((height - 1, 2 * width, 3), np.uint8)
    save(tree / "111000000001.png", small)
    batch = [sample(f"pie-bench-11100000000{i}", Task.EDIT) for i in range(2)]
    (made,) = served(tree, "pnpinversion", batch[:1])
    assert np.array_equal(made, wanted)
    with pytest.raises(UserError, match="must be"):
        served(tree, "pnpinversion", batch[1:])


def test_two_methods_in_one_tree_are_refused(tmp_path):
    for method in ("ddim+p2p", "masactrl"):
        save(tmp_path / method / "a" / "000000000007.jpg", noise(1))
    with pytest.raises(UserError, match="both called 000000000007; name the folder of one run"):
        served(tmp_path, "pnpinversion", [sample("pie-bench-000000000007", Task.EDIT)])


@pytest.mark.parametrize("below", ["", "images"])
def test_controlnetpp_has_a_group_a_repeat(tmp_path, below):
    for group in range(2):
        for index in (3, 12):
            save(tmp_path / below / f"group_{group}" / f"{index}.png", noise(10 * group + index))
            save(tmp_path / below / f"group_{group}" / f"{index}_depth.png", noise(99))
    batch = [sample("multigen-depth-00012"), sample("multigen-depth-00003")]
    for group in range(2):
        made = served(tmp_path, "controlnetpp", batch, group, 2)
        assert np.array_equal(made[0], noise(10 * group + 12))
        assert np.array_equal(made[1], noise(10 * group + 3))


@pytest.mark.parametrize("below", ["", "visualization"])
def test_controlar_has_six_digits(tmp_path, below):
    save(tmp_path / below / "000012.png", noise(4))
    (made,) = served(tmp_path, "controlar", [sample("ade20k-00012", Task.SEGMENTATION)])
    assert np.array_equal(made, noise(4))


@pytest.mark.parametrize("repeats", [1, 3])
def test_unicontrol_counts_all_pictures(tmp_path, repeats):
    for count in range(9):
        save(tmp_path / "samples" / f"a-cat,-00002-{count:05d}.png", noise(count))
    save(tmp_path / "samples" / "a-cat,-control.png", noise(99))
    for repeat in range(repeats):
        (made,) = served(tmp_path, "unicontrol", [sample("multigen-edge-00002")], repeat, repeats)
        assert np.array_equal(made, noise(2 * repeats + repeat))


@pytest.mark.parametrize("layout", ["controlnetpp", "controlar", "unicontrol"])
def test_samples_that_are_not_numbered_have_no_picture(tmp_path, layout):
    save(tmp_path / "000000000012.png", noise(1))
    with pytest.raises(UserError, match="There is no picture .* of sample pie-bench-000000000012"):
        served(tmp_path, layout, [sample("pie-bench-000000000012", Task.EDIT)])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_can_be_sent_to_a_worker(tmp_path, layout):
    save(tmp_path / "a-00000.png", noise(1))
    model = FolderOfPictures(tmp_path, name="x", task=Task.DEPTH, layout=layout)
    assert pickle.loads(pickle.dumps(model)).fingerprint == model.fingerprint


def test_a_row_says_where_its_pictures_came_from(tmp_path):
    model = FolderOfPictures(tmp_path, name="x", task=Task.DEPTH, layout="unicontrol", repeats=3)
    assert model.settings == {"source": "precomputed", "layout": "unicontrol", "repeats": 3}
