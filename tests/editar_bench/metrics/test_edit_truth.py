import numpy as np
import pytest

from editar_bench.metrics import edit_truth as m
from tests.editar_bench.metrics.making import example, gray, judges, left_half, noise

INSIDE = (m.SquaredErrorInside, m.PsnrInside, m.PerceptualInside)
OUTSIDE = (m.SquaredErrorOutside, m.PsnrOutside, m.PerceptualOutside)


def _value(metric, one, image):
    return metric(judges()).score([one], [image])[0].value


def test_squared_error_is_normalized_by_area():
    one = example(target=gray(0))
    image = np.where(left_half()[..., None], gray(51), gray(0))
    assert _value(m.SquaredErrorInside, one, image) == pytest.approx(1e4 * 0.04)
    assert _value(m.SquaredErrorOutside, one, image) == 0.0
    assert _value(m.PsnrInside, one, image) == pytest.approx(-10 * np.log10(0.04))
    assert _value(m.PsnrOutside, one, image) == 50.0


def test_truth_is_the_target_and_not_the_source():
    one = example()
    assert _value(m.PerceptualInside, one, one.target) == 0.0
    assert _value(m.PerceptualInside, one, one.condition) > 1


def test_a_change_on_one_side_is_felt_there_most():
    one = example(target=noise(2))
    image = one.target.copy()
    image[8:24, 4:8] = 0
    inside = _value(m.PerceptualInside, one, image)
    assert inside > 2 * _value(m.PerceptualOutside, one, image)


@pytest.mark.parametrize("metric", OUTSIDE)
def test_edits_of_everything_have_no_outside(metric):
    (score,) = metric(judges()).score([example(edit_mask=None)], [noise(3)])
    assert score.value is None
    assert score.reason


@pytest.mark.parametrize("metric", INSIDE)
def test_inside_of_an_edit_of_everything_is_the_whole_picture(metric):
    whole = example(edit_mask=np.ones((32, 32), bool))
    assert _value(metric, example(edit_mask=None), noise(3)) == _value(metric, whole, noise(3))


@pytest.mark.parametrize("metric", (*INSIDE, *OUTSIDE))
def test_without_a_truth_there_is_no_value(metric):
    assert _value(metric, example(target=None), noise(3)) is None


def test_an_empty_mask_has_no_inside():
    assert _value(m.PsnrInside, example(edit_mask=np.zeros((32, 32), bool)), noise(3)) is None


@pytest.mark.parametrize("metric", (m.PerceptualInside, m.PerceptualOutside))
def test_a_score_does_not_depend_on_its_batch(metric):
    examples = [example(id=str(i), target=noise(10 + i)) for i in range(3)]
    images = [noise(20 + i) for i in range(3)]
    judges().store.clear()
    together = [s.value for s in metric(judges()).score(examples, images)]
    judges().store.clear()
    alone = [_value(metric, e, i) for e, i in zip(examples, images, strict=True)]
    assert together == pytest.approx(alone, rel=1e-4)
