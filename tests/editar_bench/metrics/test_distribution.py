import numpy as np
import pytest
from cleanfid.fid import kernel_distance

from editar_bench.metrics.distribution import SEED, SUBSET_SIZE, SUBSETS, KernelDistance
from tests.editar_bench.metrics.making import example, judges, noise

RNG = np.random.default_rng(5)
REFERENCE = RNG.normal(3.0, 2.0, (600, 8))


def _rows(samples):
    return np.column_stack([samples, np.arange(len(samples))])


def _metric():
    return KernelDistance(judges(), REFERENCE)


def test_it_is_clean_fids_on_standardized_features():
    samples = RNG.normal(3.5, 2.0, (40, 8))
    samples = samples[np.lexsort(samples.T[::-1])]  # the order in which rows are kept
    mean, deviation = REFERENCE.mean(0), REFERENCE.std(0) + 1e-6
    np.random.seed(SEED)
    expected = 1e3 * kernel_distance(
        (samples - mean) / deviation, (REFERENCE - mean) / deviation, SUBSETS, SUBSET_SIZE
    )
    assert _metric().reduce(_rows(samples)) == pytest.approx(expected)


def test_the_global_generator_is_left_alone():
    np.random.seed(9)
    first = np.random.random()
    np.random.seed(9)
    _metric().reduce(_rows(RNG.normal(3.0, 2.0, (20, 8))))
    assert np.random.random() == first


def test_unbiased_near_zero_for_the_same_distribution_and_large_for_another():
    metric = _metric()
    same = [metric.reduce(_rows(RNG.normal(3.0, 2.0, (50, 8)))) for _ in range(20)]
    spread = np.std(same)
    assert abs(np.mean(same)) < 3 * spread / np.sqrt(20)
    assert metric.reduce(_rows(RNG.normal(5.0, 2.0, (50, 8)))) > 5 * spread


def test_samples_drawn_twice_count_once():
    rows = _rows(RNG.normal(3.0, 2.0, (30, 8)))
    metric = _metric()
    assert metric.reduce(np.concatenate([rows, rows[:10]])) == metric.reduce(rows)


def test_equal_pictures_of_different_samples_are_kept():
    assert _metric().reduce(_rows(np.full((10, 8), 3.0))) is not None
    assert _metric().reduce(_rows(np.full((1, 8), 3.0))) is None


def test_observations_are_the_segmenters_embedding_and_a_tag():
    examples = [example(id="a"), example(id="b")]
    one, two = _metric().observe(examples, [noise(3), noise(3)])
    (reading,) = judges().segment([noise(3)])
    np.testing.assert_allclose(one[:-1], reading["embedding"])
    np.testing.assert_array_equal(one[:-1], two[:-1])
    assert one[-1] != two[-1]
