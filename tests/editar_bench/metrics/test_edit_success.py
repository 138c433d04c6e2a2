import numpy as np
import pytest

from editar_bench.metrics.edit_success import EditSuccess, EditSuccessChanged
from tests.editar_bench.metrics.making import FakeJudges, example, gray, left_half

N = 32
TRUTH = {k: np.full((N, N), v, np.uint8) for k, v in (("label", 2), ("color", 3), ("material", 1))}


def _reading(right_columns, wrong="color"):
    """Right in so many columns from the left."""
    reading = {name: array.copy() for name, array in TRUTH.items()}
    reading[wrong][:, right_columns:] = 0
    return FakeJudges(**reading)


def _edit(**changes):
    after = np.where(left_half()[..., None], gray(200), gray(100))
    return example(**({"condition": gray(100), "target": after, "truth": TRUTH} | changes))


def _value(metric, fake, one, image):
    return metric(fake).score([one], [image])[0].value


@pytest.mark.parametrize("metric", [EditSuccess, EditSuccessChanged])
@pytest.mark.parametrize("wrong", ["label", "color", "material"])
@pytest.mark.parametrize(("right_columns", "expected"), [(8, 1.0), (7, 0.0)])
def test_half_of_the_mask_must_carry_the_truth(metric, wrong, right_columns, expected):
    one = _edit()
    assert _value(metric, _reading(right_columns, wrong), one, one.target) == expected


@pytest.mark.parametrize("metric", [EditSuccess, EditSuccessChanged])
def test_one_pixel_less_than_half_is_not_half(metric):
    one, fake = _edit(), _reading(8)
    fake.reading["color"][0, 0] = 0
    assert _value(metric, fake, one, one.target) == 0.0


def test_half_of_the_changed_pixels_must_be_nearer_to_the_truth():
    one = _edit()
    image = one.target.copy()
    image[:, 8:16] = 149  # 49 from the source's 100, 51 from the truth's 200
    assert _value(EditSuccessChanged, _reading(N), one, image) == 1.0
    image[0, 0] = 150  # as far from the one as from the other
    assert _value(EditSuccessChanged, _reading(N), one, image) == 0.0


@pytest.mark.parametrize("metric", [EditSuccess, EditSuccessChanged])
@pytest.mark.parametrize(
    ("pixels", "difference", "expected"),
    [(25, 255 - 100, 1.0), (26, 255 - 100, 0.0), (512, 24, 1.0), (512, 25, 0.0)],
)
def test_outside_must_stay_but_for_five_percent(metric, pixels, difference, expected):
    one = _edit()
    image = one.target.copy()
    for pixel in range(pixels):  # 5 % of the 512 pixels outside are 25.6
        image[pixel // 16, 16 + pixel % 16, 1] += difference
    assert _value(metric, _reading(N), one, image) == expected


def test_copying_the_source_can_pass_by_maps_but_not_by_color():
    one = _edit()
    assert _value(EditSuccess, _reading(N), one, one.condition) == 1.0
    assert _value(EditSuccessChanged, _reading(N), one, one.condition) == 0.0


def test_only_visibly_changed_pixels_count():
    after = gray(100)
    after[:, :2] = 200  # two of the mask's sixteen columns
    one = _edit(target=after)
    assert _value(EditSuccess, _reading(2), one, after) == 0.0
    assert _value(EditSuccessChanged, _reading(2), one, after) == 1.0


def test_one_channel_is_a_visible_change():
    red = np.where(left_half()[..., None], np.array([200, 100, 100], np.uint8), gray(100))
    one = _edit(target=red)
    assert _value(EditSuccessChanged, _reading(N), one, one.target) == 1.0


def test_nearer_is_by_squared_differences():
    after, image = gray(100), gray(100)
    after[:, :16], image[:, :16] = (210, 130, 130), (180, 100, 100)
    one = _edit(target=after)  # 3 × 30² to the truth, 80² to the source; 90 and 80 by sums
    assert _value(EditSuccessChanged, _reading(N), one, image) == 1.0


def test_a_mask_of_everything_leaves_nothing_to_preserve():
    one = _edit(edit_mask=np.ones((N, N), bool))
    assert _value(EditSuccess, _reading(N), one, one.target) is None
    assert _value(EditSuccessChanged, _reading(N), one, one.target) == 1.0


def test_edits_of_everything():
    one = _edit(edit_mask=None)
    assert _value(EditSuccess, _reading(N), one, one.target) is None
    assert _value(EditSuccessChanged, _reading(N), one, one.target) == 1.0
    assert _value(EditSuccessChanged, _reading(N), one, one.condition) == 0.0


def test_an_invisible_edit_is_undefined():
    (score,) = EditSuccessChanged(_reading(N)).score([_edit(target=gray(110))], [gray(110)])
    assert score.value is None
    assert "24/255" in score.reason


def test_without_truth_maps_there_is_no_value():
    one = _edit(truth={})
    assert _value(EditSuccess, _reading(N), one, one.target) is None
