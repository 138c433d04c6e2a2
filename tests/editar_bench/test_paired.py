"""Paired tests against hand-computed cases, scipy, and the promise that a p-value makes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from editar_bench.paired import holm, paired_influences, paired_means, paired_sets, sign_flip


def test_three_differences_by_hand() -> None:
    # Signs of 1, 2, 3: sums 6, 4, 2, 0, 0, -2, -4, -6; two of the eight are as far from zero as 6.
    result = paired_means(np.array([2.0, 4.0, 6.0]), np.array([1.0, 2.0, 3.0]))
    assert (result.a, result.b, result.difference.value) == (4.0, 2.0, 2.0)
    assert result.p == 0.25
    assert result.effect == pytest.approx(2.0)  # mean 2, deviation 1
    assert (result.higher, result.equal, result.lower) == (3, 0, 0)


def test_the_interval_holds_the_paired_difference_and_not_the_spread_of_samples() -> None:
    base = np.random.default_rng(0).normal(0, 100, 50)
    result = paired_means(base + 1, base)
    assert result.difference.low == pytest.approx(1) and result.difference.high == pytest.approx(1)
    assert result.effect is None  # all differences are equal: no unit to measure in
    assert result.p is not None and result.p < 0.001


def test_exact_p_values_agree_with_scipy() -> None:
    rng = np.random.default_rng(1)
    for n in (4, 7, 10):
        a, b = rng.normal(size=n), rng.normal(0.6, 1, size=n)
        theirs = stats.permutation_test(
            (a, b),
            lambda x, y: np.mean(x - y),
            permutation_type="samples",
            n_resamples=np.inf,
            vectorized=False,
        )
        assert sign_flip(a - b) == pytest.approx(theirs.pvalue)


def test_drawn_p_values_are_near_the_exact_ones() -> None:
    difference = np.random.default_rng(2).normal(0.5, 1, 14)
    sums = [
        sum(s * d for s, d in zip(signs, difference, strict=True))
        for signs in itertools.product((1, -1), repeat=14)
    ]
    exact = np.mean(np.abs(sums) >= abs(difference.sum()) * (1 - 1e-9))
    drawn = sign_flip(difference)
    assert drawn == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 9_999))


def test_a_p_value_is_never_zero_and_no_difference_gives_one() -> None:
    assert sign_flip(np.ones(200)) == pytest.approx(1 / 10_000)
    assert sign_flip(np.zeros(20)) == 1.0
    assert sign_flip(np.zeros(3)) == 1.0


def test_sums_that_differ_by_rounding_are_equal() -> None:
    # Of 0.3, 0.1, -0.1 six of the eight sums are as far from zero as 0.3: ±0.3 twice each, ±0.5.
    assert sign_flip(np.array([0.3, 0.1, -0.1])) == 0.75
    # Of 0.1, 0.1, -0.1, -0.1, 1.7: 22 of 32 sums are as far as 1.7; here each value is a sum of its own.
    a, b = (
        np.array([[0.2], [0.6], [0.5], [0.1], [1.7]]),
        np.array([[0.1], [0.5], [0.6], [0.2], [0]]),
    )
    result = paired_sets(
        a, b, lambda x: float(sum(x[:, 0])), clusters=list("abcde"), exchanges=2000
    )
    assert result.p == pytest.approx(22 / 32, abs=0.05)
    equal = paired_means(np.array([0.3, 1.1]), np.array([0.2, 1.0]))
    assert equal.effect is None  # differences of 0.1, but for their last digits


def test_a_tie_is_nobodys() -> None:
    result = paired_means(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 1.0, 1.0, 5.0]))
    assert (result.higher, result.equal, result.lower) == (2, 1, 1)


def test_without_an_effect_small_p_values_are_as_rare_as_they_say() -> None:
    rng = np.random.default_rng(3)
    p = np.array([sign_flip(rng.normal(size=9)) for _ in range(2000)])
    for level in (0.05, 0.2, 0.5):
        assert (p <= level).mean() == pytest.approx(level, abs=4 * math.sqrt(level / 2000))


def test_chunks_draw_what_one_piece_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    difference = np.random.default_rng(4).normal(0.1, 1, 40)
    whole = sign_flip(difference)
    monkeypatch.setattr("editar_bench.paired._CHUNK", 4_000)
    assert sign_flip(difference) == whole


def test_a_set_level_metric_that_is_a_mean_is_tested_like_a_mean() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.normal(0.25, 1, 60), rng.normal(size=60)
    names = [f"s{i}" for i in range(60)]
    ours = paired_sets(a[:, None], b[:, None], lambda x: float(x.mean()), clusters=names)
    mean = paired_means(a, b)
    assert (ours.a, ours.b) == (pytest.approx(mean.a), pytest.approx(mean.b))
    assert ours.difference.value == pytest.approx(mean.difference.value)
    assert ours.difference.low == pytest.approx(mean.difference.low, abs=0.1)
    assert ours.difference.high == pytest.approx(mean.difference.high, abs=0.1)
    assert ours.p == pytest.approx(mean.p, abs=0.06)
    assert ours.effect is None and ours.higher is None


def test_a_samples_repeats_are_exchanged_together() -> None:
    # Two samples: all four exchanges give a difference of ±1 or 0, and half of them ±1. Were the six rows exchanged
    # one by one, only one of 32 would be that far from zero.
    a, b = np.ones((6, 1)), np.zeros((6, 1))
    names = ["x"] * 3 + ["y"] * 3
    result = paired_sets(a, b, lambda x: float(x.mean()), clusters=names, exchanges=2000)
    assert result.p == pytest.approx(0.5, abs=0.05)


def test_p_values_of_sets_are_never_zero() -> None:
    names = [f"s{i}" for i in range(30)]
    a, b = np.ones((30, 1)), np.zeros((30, 1))
    result = paired_sets(a, b, lambda x: float(x.mean()), clusters=names, exchanges=99)
    assert result.p == 0.01


def test_an_exchange_without_a_value_does_not_count_against_chance() -> None:
    def of_one_model(rows: np.ndarray) -> float | None:
        return float(rows.mean()) if len(np.unique(rows)) == 1 else None

    names = [f"s{i}" for i in range(8)]
    a, b = np.ones((8, 1)), np.zeros((8, 1))
    assert paired_sets(a, b, of_one_model, clusters=names, exchanges=99).p == 1.0


def test_influences_of_a_mean_are_tested_like_the_mean() -> None:
    rng = np.random.default_rng(6)
    a, b = rng.normal(0.4, 1, 40), rng.normal(size=40)
    names = [f"s{i}" for i in range(40)]
    ours = paired_influences(a.mean(), b.mean(), a - a.mean(), b - b.mean(), clusters=names)
    mean = paired_means(a, b)
    assert (ours.a, ours.b, ours.p) == (pytest.approx(mean.a), pytest.approx(mean.b), mean.p)
    assert ours.difference.low == pytest.approx(mean.difference.low)
    twice = [np.repeat(x - x.mean(), 2) for x in (a, b)]
    clustered = paired_influences(a.mean(), b.mean(), *twice, clusters=np.repeat(names, 2).tolist())
    assert (clustered.p, clustered.difference.n) == (mean.p, 40)


def test_an_undefined_set_has_no_test() -> None:
    result = paired_sets(
        np.ones((3, 1)), np.zeros((3, 1)), lambda x: None, clusters=["a", "b", "c"]
    )
    assert result.p is None and result.difference.value is None
    alone = paired_sets(
        np.ones((2, 1)), np.zeros((2, 1)), lambda x: float(x.mean()), clusters=["a", "a"]
    )
    assert alone.p is None and alone.difference.value == 1.0 and alone.difference.n == 1
    two = np.array([0.5, 0.5])
    assert paired_influences(1.0, 0.0, two, two, clusters=["a", "b"]).p == 0.5
    assert paired_influences(1.0, 0.0, two, two, clusters=["a", "a"]).p is None
    assert paired_means(np.empty(0), np.empty(0)).difference.n == 0
    one = paired_means(np.array([1.0]), np.array([0.0]))
    assert one.p is None and one.difference.value == 1.0 and one.difference.low is None


def test_holm_by_hand() -> None:
    # Ordered 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1, each at least as large as the one before.
    assert holm([0.04, 0.01, None, 0.03, 0.02]) == pytest.approx(
        [0.06, 0.04, None, 0.06, 0.06], nan_ok=True
    )
    assert holm([0.5, 0.9]) == [1.0, 1.0] and holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == [] and holm([None]) == [None]
