import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import binary_f1_score

from editar_bench.conditions import canny_kornia
from editar_bench.metrics._edges import f1, near
from editar_bench.metrics.edge import EdgeF1, EdgeF1Exact, EdgeSsim
from editar_bench.types import Task
from tests.editar_bench.metrics.making import example, gray, judges

ALL = (EdgeF1, EdgeF1Exact, EdgeSsim)


def _square(left):
    picture = gray(40)
    picture[8:24, left : left + 12] = 220
    return picture


def _example(picture):
    return example(Task.EDGE, condition=canny_kornia(picture), target=picture, edit_mask=None)


def _value(metric, one, image):
    return metric(judges()).score([one], [image])[0].value


@pytest.mark.parametrize("metric", ALL)
def test_the_truth_has_its_own_edges(metric):
    assert _value(metric, _example(_square(10)), _square(10)) == pytest.approx(1.0)


def test_one_pixel_is_tolerated_and_two_are_not():
    one = _example(_square(10))
    assert _value(EdgeF1, one, _square(11)) == pytest.approx(1.0)
    assert _value(EdgeF1, one, _square(12)) < 1
    assert _value(EdgeF1Exact, one, _square(11)) < 1


def test_f1_by_hand():
    found, true = np.zeros((9, 9), bool), np.zeros((9, 9), bool)
    true[0, :4] = True
    found[1, 0] = found[8, 8] = True  # one near the row, one far away
    # Precision 1/2; recall 2/4: two of the four true pixels are near the found one.
    assert f1(found, true, near(found), near(true)) == pytest.approx(0.5)
    assert f1(found, true, found, true) == 0.0


def test_the_exact_form_is_torchmetricsf1():
    one, image = _example(_square(10)), _square(12)
    found = torch.from_numpy(canny_kornia(image)[..., 0] > 0)
    true = torch.from_numpy(one.condition[..., 0] > 0)
    expected = float(binary_f1_score(found.int(), true.int()))
    assert 0 < expected < 1
    assert _value(EdgeF1Exact, one, image) == pytest.approx(expected)


def test_a_flat_picture_scores_zero_and_a_flat_truth_is_undefined():
    one = _example(_square(10))
    assert _value(EdgeF1, one, gray(40)) == 0.0
    flat = _example(gray(40))
    assert _value(EdgeF1, flat, _square(10)) is None
    assert _value(EdgeF1Exact, flat, _square(10)) is None
    assert _value(EdgeSsim, flat, gray(40)) == pytest.approx(1.0)


@pytest.mark.parametrize("metric", ALL)
def test_a_score_does_not_depend_on_its_batch(metric):
    one = _example(_square(10))
    images = [_square(left) for left in (10, 12, 15)]
    judges().store.clear()
    together = [s.value for s in metric(judges()).score([one] * 3, images)]
    judges().store.clear()
    assert together == [_value(metric, one, image) for image in images]
