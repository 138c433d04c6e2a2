"""What all metrics with a value a sample share."""

import math

import pytest

from editar_bench.evaluators.judges import Judges
from editar_bench.metrics._base import PerSample
from editar_bench.metrics.depth import DepthRmse
from editar_bench.metrics.edge import EdgeF1
from tests.editar_bench.metrics.making import example, judges, noise


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_value_that_is_no_number_is_undefined(value):
    class Endless(PerSample):
        INFO = EdgeF1.INFO

        def value(self, example, image):
            return value

    (score,) = Endless().score([example()], [noise(1)])
    assert score.value is None and str(value) in score.reason


def test_retrained_evaluators_make_another_version(monkeypatch):
    generations = {("depth",): 7}
    monkeypatch.setattr(Judges, "generation", lambda self, *names: generations[names])
    assert DepthRmse(judges()).info.version == 1007
    assert EdgeF1(judges()).info.version == 2  # reads no evaluator
