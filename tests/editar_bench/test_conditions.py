import hashlib

import kornia
import numpy as np
import pytest
import torch
from PIL import Image

from data_prep.scenes.description import LABELS
from editar_bench.conditions import (
    ADE20K_PALETTE,
    SCENES_PALETTE,
    canny_kornia,
    canny_kornia_batch,
    canny_published,
    depth_picture,
    inverse_depth,
    palette_labels,
    palette_picture,
)

NOISE = np.random.default_rng(0).integers(0, 256, (3, 24, 20, 3), dtype=np.uint8)
SMOOTH = np.stack([np.kron(n[:6, :5], np.ones((4, 4, 1), dtype=np.uint8)) for n in NOISE])


def test_canny_is_kornias_second_output_with_thresholds_01_and_02():
    unit = torch.from_numpy(SMOOTH[0]).permute(2, 0, 1)[None].double() / 255
    _, edges = kornia.filters.canny(unit, low_threshold=0.1, high_threshold=0.2)
    expected = (edges[0, 0].numpy() * 255).astype(np.uint8)
    assert set(np.unique(expected)) == {0, 255}
    for channel in range(3):
        assert np.array_equal(canny_kornia(SMOOTH[0])[..., channel], expected)


def test_canny_has_the_very_thresholds():
    """On faint soft blobs, whose slopes lie around them."""
    faint = Image.fromarray(NOISE[0] // 3 + 60)
    soft = np.asarray(faint.resize((160, 160), Image.Resampling.BICUBIC))
    unit = torch.from_numpy(soft.copy()).permute(2, 0, 1)[None].double() / 255

    def kornias(low, high):
        return kornia.filters.canny(unit, low, high)[1][0, 0].numpy() > 0

    found = canny_kornia(soft)[..., 0] > 0
    assert np.array_equal(found, kornias(0.1, 0.2))
    for other in ((0.105, 0.2), (0.095, 0.2), (0.1, 0.21), (0.1, 0.19)):
        assert not np.array_equal(found, kornias(*other))


def test_published_canny_is_kornias_in_float32_near_ties_and_all():
    blocks = np.kron(NOISE[0, :6, :5], np.ones((32, 32, 1), dtype=np.uint8))
    unit = torch.from_numpy(blocks).permute(2, 0, 1)[None] / 255
    _, edges = kornia.filters.canny(unit, low_threshold=0.1, high_threshold=0.2)
    found = canny_published(blocks)
    assert np.array_equal(found[..., 0], (edges[0, 0].numpy() * 255).astype(np.uint8))
    assert not np.array_equal(found, canny_kornia(blocks))  # along flat sides all is a tie


def test_canny_draws_the_outline_of_a_square_and_nothing_else():
    picture = np.zeros((32, 32, 3), dtype=np.uint8)
    picture[8:24, 8:24] = 255
    rows, columns = np.nonzero(canny_kornia(picture)[..., 0])
    distance = np.maximum(abs(rows - 15.5), abs(columns - 15.5))
    assert len(rows) >= 4 * 12
    assert ((distance >= 6.5) & (distance <= 9.5)).all()
    assert not canny_kornia(np.full((16, 16, 3), 77, dtype=np.uint8)).any()


def test_canny_of_a_batch_is_the_canny_of_each():
    batch = canny_kornia_batch(torch.from_numpy(SMOOTH)).numpy()
    for i in range(len(SMOOTH)):
        assert np.array_equal(batch[i], canny_kornia(SMOOTH[i]))


def test_inverse_depth_by_hand():
    depth = np.array([1.0, 2.0, 4.0, 8.0, 16.0, np.inf], dtype=np.float32)
    # near 2, far 8: (1/4 − 1/8) / (1/2 − 1/8) = 1/3
    assert inverse_depth(depth, 2.0, 8.0) == pytest.approx([1, 1, 1 / 3, 0, 0, 0])


def test_depth_picture_is_white_near_black_in_the_sky_and_rounds():
    depth = np.array([[2.0, 4.0, np.inf]], dtype=np.float32)
    picture = depth_picture(depth, 2.0, 8.0)
    assert picture.dtype == np.uint8
    assert picture.tolist() == [[[255] * 3, [85] * 3, [0] * 3]]


def test_depth_pictures_round_to_the_nearest_level():
    # near 1, far inf: a level of 255 / depth
    picture = depth_picture(np.array([[255 / 100.6, 255 / 100.4]]), 1.0, np.inf)
    assert picture[0, :, 0].tolist() == [101, 100]


def test_the_palette_of_ade20k_is_mmsegmentations():
    """The sha256 of the 450 bytes of its `ADE20KDataset`, after black."""
    first, *others = ADE20K_PALETTE
    digest = hashlib.sha256(bytes(level for color in others for level in color)).hexdigest()
    assert first == (0, 0, 0) and len(others) == 150
    assert digest == "ce475c9151035eff51f4cf27fd7d906959b1480f6d15b9423ae2417c1b23a0ed"


def test_palette_by_hand_and_back():
    label = np.array([[0, 1], [2, 8]], dtype=np.uint8)
    picture = palette_picture(label)
    assert picture.tolist() == [
        [[0, 0, 0], [128, 128, 128]],
        [[255, 0, 0], [255, 255, 255]],
    ]
    assert np.array_equal(palette_labels(picture), label)


def test_palette_has_one_well_separated_color_a_label():
    colors = np.array(SCENES_PALETTE, dtype=float)
    assert len(colors) == len(LABELS)
    apart = np.linalg.norm(colors[:, None] - colors[None], axis=-1)
    assert apart[~np.eye(len(colors), dtype=bool)].min() >= 127
    every = np.arange(len(LABELS), dtype=np.uint8)
    noise = np.random.default_rng(1).integers(-30, 31, (200, len(LABELS), 3))
    noisy = (palette_picture(every).astype(int) + noise).clip(0, 255).astype(np.uint8)
    assert (palette_labels(noisy) == every).all()


def test_tensors_and_arrays_agree():
    depth = np.random.default_rng(2).uniform(1, 20, (2, 5, 4)).astype(np.float32)
    label = np.random.default_rng(3).integers(0, 9, (2, 5, 4)).astype(np.uint8)
    assert np.array_equal(
        depth_picture(torch.from_numpy(depth), 2.0, 14.0).numpy(), depth_picture(depth, 2.0, 14.0)
    )
    colors = palette_picture(torch.from_numpy(label))
    assert np.array_equal(colors.numpy(), palette_picture(label))
    assert np.array_equal(palette_labels(colors).numpy(), label)
    assert np.array_equal(palette_labels(NOISE), palette_labels(torch.from_numpy(NOISE)).numpy())
