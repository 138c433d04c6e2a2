import numpy as np

from data_prep.scenes.masks import changed_pixels, edit_mask, grow


def test_a_change_of_two_levels_is_none_and_of_three_is_one():
    source = np.full((3, 4, 3), 100, dtype=np.uint8)
    target = source.copy()
    target[0, 1, 0] = 102
    target[1, 2, 2] = 97
    target[2, 3, 1] = 103
    assert np.argwhere(changed_pixels(source, target)).tolist() == [[1, 2], [2, 3]]


def test_difference_does_not_wrap_around():
    source = np.zeros((1, 1, 3), dtype=np.uint8)
    assert changed_pixels(source, source + 255).all()


def test_mask_grows_by_two_pixels_in_all_eight_directions_and_stops_at_the_border():
    source = np.zeros((6, 7, 3), dtype=np.uint8)
    target = source.copy()
    target[0, 3] = 200
    expected = np.zeros((6, 7), dtype=bool)
    expected[0:3, 1:6] = True
    assert np.array_equal(edit_mask(source, target, "color"), expected)


def test_grow_equals_a_brute_force_dilation():
    mask = np.random.default_rng(0).random((9, 11)) < 0.05
    expected = np.zeros_like(mask)
    for r, c in np.argwhere(mask):
        expected[max(0, r - 2) : r + 3, max(0, c - 2) : c + 3] = True
    assert np.array_equal(grow(mask), expected)


def test_edits_of_the_whole_picture_have_no_outside():
    source = np.zeros((4, 4, 3), dtype=np.uint8)
    assert edit_mask(source, source + 9, "background") is None
    assert edit_mask(source, source + 9, "style") is None
