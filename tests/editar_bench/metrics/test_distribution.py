import numpy as np
import pytest
from cleanfid.fid import kernel_distance

from editar_bench.evaluators.weights import load_reference
from editar_bench.metrics._kernel import SEED, kernel_influences
from editar_bench.metrics.distribution import SUBSET_SIZE, SUBSETS, KernelDistance
from editar_bench.statistics import influence_interval
from tests.editar_bench.metrics.making import example, judges, noise

RNG = np.random.default_rng(5)
REFERENCE = RNG.normal(3.0, 2.0, (600, 8))


def _metric():
    return KernelDistance(judges(), REFERENCE)


def test_it_is_clean_fids_on_standardized_features():
    samples = RNG.normal(3.5, 2.0, (40, 8))
    mean, deviation = REFERENCE.mean(0), REFERENCE.std(0) + 1e-6
    np.random.seed(SEED)
    expected = 1e3 * kernel_distance(
        (samples - mean) / deviation, (REFERENCE - mean) / deviation, SUBSETS, SUBSET_SIZE
    )
    assert _metric().reduce(samples) == pytest.approx(expected)


def test_the_protocol_says_what_is_drawn():
    protocol = KernelDistance.INFO.protocol
    assert f".ref{len(load_reference())}.m{SUBSET_SIZE}x{SUBSETS}." in protocol
    assert SEED == 0


def test_the_global_generator_is_left_alone():
    np.random.seed(9)
    first = np.random.random()
    np.random.seed(9)
    _metric().reduce(RNG.normal(3.0, 2.0, (20, 8)))
    assert np.random.random() == first


def test_unbiased_near_zero_for_the_same_distribution_and_large_for_another():
    metric = _metric()
    same = [metric.reduce(RNG.normal(3.0, 2.0, (50, 8))) for _ in range(20)]
    spread = np.std(same)
    assert abs(np.mean(same)) < 3 * spread / np.sqrt(20)
    assert metric.reduce(RNG.normal(5.0, 2.0, (50, 8))) > 5 * spread


def test_equal_pictures_of_different_samples_are_kept():
    assert _metric().reduce(np.full((10, 8), 3.0)) is not None
    assert _metric().reduce(np.full((1, 8), 3.0)) is None


def test_observations_are_the_segmenters_embedding():
    examples = [example(id="a"), example(id="b")]
    one, two = _metric().observe(examples, [noise(3), noise(4)])
    for found, picture in ((one, noise(3)), (two, noise(4))):
        (reading,) = judges().segment([picture])
        np.testing.assert_allclose(found, reading["embedding"])


def _interval(metric, samples):
    return influence_interval(metric.reduce(samples), metric.influence(samples))


def test_the_interval_is_as_wide_as_the_value_varies_and_holds_it():
    metric = _metric()
    draws = [RNG.normal(3.6, 2.0, (60, 8)) for _ in range(60)]
    values = [metric.reduce(draw) for draw in draws]
    found = [_interval(metric, draw) for draw in draws[:20]]
    assert all(e.low < e.value < e.high for e in found)
    # 3.92 deviations wide, on average; the deviation is known to a tenth.
    assert np.mean([e.high - e.low for e in found]) == pytest.approx(
        3.92 * np.std(values), rel=0.25
    )


@pytest.mark.parametrize("mean", [3.0, 3.3, 4.0])  # of the reference itself, and of others
def test_intervals_hold_the_expected_value_as_often_as_they_say(mean):
    metric = _metric()
    draws = RNG.normal(mean, 2.0, (600, 60, 8))
    expected = np.mean([metric.reduce(draw) for draw in draws])
    found = [_interval(metric, draw) for draw in draws[:200]]
    held = np.mean([e.low <= expected <= e.high for e in found])
    # Near zero the value varies less than its influences do, and intervals are too wide rather than too narrow.
    assert 0.9 <= held <= (1.0 if mean == 3.0 else 0.985)


def test_influences_on_the_value_are_its_derivatives():
    count = 12
    samples = RNG.normal(3.5, 2.0, (count, 8))
    metric = KernelDistance(
        judges(), REFERENCE[:count]
    )  # so small that clean-fid's draws are all of it
    mean, deviation = REFERENCE[:count].mean(0), REFERENCE[:count].std(0) + 1e-6
    x, y = (samples - mean) / deviation, (REFERENCE[:count] - mean) / deviation
    xx, xy, yy = ((a @ b.T / 8 + 1) ** 3 for a, b in ((x, x), (x, y), (y, y)))
    others = 1 - np.eye(count)

    def value(weights):
        apart = np.outer(weights, weights) * others
        own = (apart * xx).sum() / apart.sum() + (others * yy).sum() / others.sum()
        return 1e3 * (own - 2 * (weights @ xy).mean() / weights.sum())

    even = np.full(count, 1 / count)
    assert value(even) == pytest.approx(metric.reduce(samples))
    steps = 1e-6 * (np.eye(count) - even)  # weights go on adding up to one
    slopes = [(value(even + step) - value(even - step)) / 2e-6 for step in steps]
    assert metric.influence(samples) == pytest.approx(np.array(slopes), rel=1e-5, abs=1e-4)


def test_equal_pictures_have_the_value_as_their_interval():
    found = _interval(_metric(), np.full((10, 8), 3.0))
    assert (found.low, found.high) == (pytest.approx(found.value), pytest.approx(found.value))


def test_influences_are_the_derivatives_of_the_distance():
    x, y = RNG.normal(0.3, 1.0, (9, 4)), RNG.normal(0.0, 1.0, (9, 4))

    def distance(weights):
        """The mean over pairs of different pictures, for any weights."""
        xx, yy, xy = ((a @ b.T / 4 + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
        apart = np.outer(weights, weights) * (1 - np.eye(9))
        own = sum((apart * k).sum() for k in (xx, yy)) / apart.sum()
        return own - 2 * weights @ xy @ weights / weights.sum() ** 2

    even = np.full(9, 1 / 9)
    slopes = []
    for i in range(9):
        step = 1e-6 * (np.eye(9)[i] - even)  # weights go on adding up to one
        slopes.append((distance(even + step) - distance(even - step)) / 2e-6)
    assert kernel_influences(x, y) == pytest.approx(np.array(slopes), rel=1e-5, abs=1e-7)
