import numpy as np
import pytest

from editar_bench.metrics.objects import PsnrObjects
from tests.editar_bench.metrics.making import example, gray, judges, left_half


def _value(one, image):
    return PsnrObjects(judges()).score([one], [image])[0].value


def test_only_objects_count():
    label = np.where(left_half(), 2, 1).astype(np.uint8)
    one = example(target=gray(0), truth={"label": label})
    image = np.where(left_half()[..., None], gray(51), gray(255))
    assert _value(one, image) == pytest.approx(-10 * np.log10(0.04))


def test_without_objects_there_is_no_value():
    assert _value(example(truth={"label": np.ones((32, 32), np.uint8)}), gray(9)) is None
