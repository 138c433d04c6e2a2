import numpy as np
import pytest

from editar_bench.metrics.depth import DepthRmse
from editar_bench.types import Task
from tests.editar_bench.metrics.making import FakeJudges, example, judges, noise


def _example(truth):
    return example(Task.DEPTH, edit_mask=None, truth=truth)


def test_root_of_the_mean_square_by_hand():
    exact = np.zeros((32, 32), np.float32)
    estimated = np.zeros((32, 32), np.float32)
    estimated[:, :8] = 0.6  # a quarter of the picture is wrong by 0.6
    metric = DepthRmse(FakeJudges(inverse_depth=estimated))
    (score,) = metric.score([_example({"inverse_depth": exact})], [noise(3)])
    assert score.value == pytest.approx(0.3)


def test_there_is_no_alignment():
    exact = np.linspace(0, 0.5, 1024, dtype=np.float32).reshape(32, 32)
    metric = DepthRmse(FakeJudges(inverse_depth=exact + 0.25))
    (score,) = metric.score([_example({"inverse_depth": exact})], [noise(3)])
    assert score.value == pytest.approx(0.25)


def test_the_estimate_is_read_from_the_picture():
    image = noise(3)
    (estimated,) = judges().inverse_depth([image])
    assert 0 <= estimated.min() < estimated.max() <= 1
    one = _example({"inverse_depth": estimated})
    same, other = DepthRmse(judges()).score([one, one], [image, noise(4)])
    assert same.value == 0.0
    assert other.value > 0


def test_without_depth_there_is_no_value():
    (score,) = DepthRmse(judges()).score([_example({})], [noise(3)])
    assert score.value is None
    assert "inverse_depth" in score.reason
