"""Bootstrap intervals against closed forms and scipy, and `gap_closed`."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from editar_bench import statistics
from editar_bench.statistics import (
    gap_closed,
    gap_interval,
    grouped_interval,
    influence_interval,
    mean_interval,
    mean_of_known,
    set_interval,
)


def test_mean_and_interval_agree_with_scipy() -> None:
    values = np.random.default_rng(0).gamma(2.0, size=60)
    ours = mean_interval(values, seed=1)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=2)
    assert ours.value == pytest.approx(values.mean())
    assert ours.n == 60
    spread = values.std() / math.sqrt(60)
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.05 * spread)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.05 * spread)


def test_interval_of_three_values_agrees_with_all_27_resamples() -> None:
    values = [0.0, 1.0, 5.0]
    exact = [sum(draw) / 3 for draw in itertools.product(values, repeat=3)]
    ours = mean_interval(values, level=0.8)
    low, high = np.quantile(exact, [0.1, 0.9])
    assert (ours.low, ours.high) == (pytest.approx(low), pytest.approx(high))


def test_undefined_values_are_skipped_and_not_zero() -> None:
    with_gaps = mean_interval([1.0, None, 3.0, math.nan])
    assert (with_gaps.value, with_gaps.n) == (2.0, 2)
    without = mean_interval([1.0, 3.0])
    assert (with_gaps.low, with_gaps.high) == (without.low, without.high)


def test_too_few_values_have_no_interval() -> None:
    assert (mean_interval([]).value, mean_interval([None]).n) == (None, 0)
    one = mean_interval([4.0, None])
    assert (one.value, one.low, one.high, one.n) == (4.0, None, None, 1)


def test_equal_values_have_an_interval_of_no_width() -> None:
    estimate = mean_interval([2.5] * 8)
    assert (estimate.low, estimate.high) == (pytest.approx(2.5), pytest.approx(2.5))


def test_repeats_are_resampled_by_sample() -> None:
    rng = np.random.default_rng(3)
    per_sample = rng.normal(size=20)
    repeated = np.repeat(per_sample, 5)
    names = [f"s{i}" for i in range(20) for _ in range(5)]
    clustered = mean_interval(repeated, clusters=names)
    alone = mean_interval(per_sample)
    assert clustered.n == 20
    assert (clustered.low, clustered.high) == (
        pytest.approx(alone.low),
        pytest.approx(alone.high),
    )
    naive = mean_interval(repeated)  # pretends that there are 100 samples
    assert naive.high - naive.low < 0.6 * (clustered.high - clustered.low)


def test_a_sample_counts_once_however_many_repeats_are_defined() -> None:
    estimate = mean_interval([1.0, None, 5.0, 7.0, None], clusters=["a", "a", "b", "b", "c"])
    assert (estimate.value, estimate.n) == (3.5, 2)  # means 1 and 6; c has no value


def test_the_seed_alone_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(4).normal(size=30)
    first, again, other = (mean_interval(values, seed=seed) for seed in (5, 5, 6))
    assert (first.low, first.high) == (again.low, again.high)
    assert (first.low, first.high) != (other.low, other.high)
    monkeypatch.setattr(statistics, "_CHUNK", 30 * 999)  # the last chunk is smaller
    chunked = mean_interval(values, seed=5)
    assert (chunked.low, chunked.high) == (pytest.approx(first.low), pytest.approx(first.high))


def test_set_interval_of_a_mean_agrees_with_the_mean() -> None:
    values = np.random.default_rng(7).normal(size=(40, 1))
    pooled = set_interval(values, lambda rows: float(rows.mean()), resamples=4000)
    direct = mean_interval(values[:, 0])
    assert pooled.value == pytest.approx(direct.value)
    assert pooled.low == pytest.approx(direct.low, abs=0.03)
    assert pooled.high == pytest.approx(direct.high, abs=0.03)


def test_set_interval_of_pooled_confusions() -> None:
    # Two kinds of pictures: all 4 pixels right, or all 4 wrong; pooled IoU = right / (right + 2 * wrong).
    right, wrong = np.array([[4, 0], [0, 0]]), np.array([[0, 4], [0, 0]])
    observations = np.stack([right] * 6 + [wrong] * 2)

    def iou(rows: np.ndarray) -> float | None:
        total = rows.sum(axis=0)
        return float(total[0, 0] / total.sum()) if total.sum() else None

    estimate = set_interval(observations, iou, resamples=3000)
    low, high = stats.binom(8, 0.75).ppf([0.025, 0.975]) / 8
    assert (estimate.value, estimate.n) == (0.75, 8)
    assert (estimate.low, estimate.high) == (pytest.approx(low), pytest.approx(high))


def test_set_interval_keeps_the_rows_of_a_sample_together() -> None:
    observations = np.array([[0.0], [0.0], [1.0], [1.0]])
    seen: set[float] = set()

    def record(rows: np.ndarray) -> float:
        seen.add(float(rows.mean()))
        return float(rows.mean())

    estimate = set_interval(observations, record, clusters=["a", "a", "b", "b"], resamples=50)
    assert seen == {0.0, 0.5, 1.0}  # never 0.25
    assert estimate.n == 2


def test_influences_of_a_mean_give_its_interval() -> None:
    values = np.random.default_rng(9).normal(size=60)
    names = [f"s{i // 2}" for i in range(60)]
    ours = influence_interval(float(values.mean()), values - values.mean(), clusters=names)
    direct = mean_interval(values, clusters=names)
    assert (ours.value, ours.n) == (pytest.approx(direct.value), 30)
    assert (ours.low, ours.high) == (pytest.approx(direct.low), pytest.approx(direct.high))
    assert influence_interval(None, values).low is None
    one = influence_interval(4.0, np.zeros(1))
    assert (one.value, one.low, one.n) == (4.0, None, 1)


def test_a_constant_in_the_influences_moves_nothing() -> None:
    values = np.random.default_rng(10).normal(size=30)
    plain, moved = (influence_interval(7.0, values - values.mean() + c) for c in (0.0, 5.0))
    assert (moved.low, moved.high) == (pytest.approx(plain.low), pytest.approx(plain.high))
    assert plain.low < 7 < plain.high


def test_set_interval_where_some_resamples_are_undefined() -> None:
    rows = np.arange(3.0)[:, None]

    def defined_from(distinct: int) -> float | None:
        return set_interval(
            rows, lambda r: float(r.mean()) if len(np.unique(r)) >= distinct else None
        ).low

    assert defined_from(2) is not None  # 24 of 27 resamples have a value
    assert defined_from(3) is None  # 6 of 27


def test_set_interval_without_resamples_or_value() -> None:
    rows = np.ones((3, 1))
    alone = set_interval(rows, lambda r: 2.0, resamples=0)
    assert (alone.value, alone.low, alone.n) == (2.0, None, 3)
    one = set_interval(rows, lambda r: 2.0, clusters=["a"] * 3)
    assert (one.value, one.low, one.n) == (2.0, None, 1)
    for undefined in (lambda r: None, lambda r: math.nan):
        assert set_interval(rows, undefined).value is None
    assert set_interval(np.empty((0, 1)), lambda r: 1 / 0).n == 0


def test_cluster_names_must_match() -> None:
    with pytest.raises(ValueError, match="2 values but 1 cluster"):
        mean_interval([1.0, 2.0], clusters=["a"])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.3, 0.9, 0.1), 0.75),  # lower is better
        ((0.7, 0.2, 0.7), 1.0),  # higher is better, at the ceiling
        ((0.1, 0.2, 0.7), -0.2),  # worse than the floor
        ((None, 0.2, 0.7), None),
        ((0.1, None, 0.7), None),
        ((0.1, 0.2, None), None),
        ((0.1, 0.2, 0.2), None),
        ((0.1, 0.2, 0.2 + 1e-12), None),
        ((5.0, 1e6, 1e6 + 1e-4), None),  # beside values of that size this is rounding
        ((5.0, 0.0, 1e-12), None),
        ((math.nan, 0.2, 0.7), None),
    ],
)
def test_gap_closed(values: tuple[float | None, ...], expected: float | None) -> None:
    found = gap_closed(*values)
    assert found == (None if expected is None else pytest.approx(expected))


def test_a_gap_at_the_floor_has_no_sign() -> None:
    assert str(gap_closed(0.2, 0.2, 0.1)) == "0.0"


def test_the_mean_of_known_values() -> None:
    assert mean_of_known([1.0, None, 3.0]) == 2.0
    assert mean_of_known([None, None]) is None and mean_of_known([]) is None


def test_between_fixed_ends_a_gap_has_the_interval_of_the_mean() -> None:
    values = np.random.default_rng(11).normal(size=40)
    ours, direct = gap_interval(values, np.zeros(40), np.ones(40)), mean_interval(values)
    assert (ours.value, ours.n) == (pytest.approx(direct.value), 40)
    assert (ours.low, ours.high) == (pytest.approx(direct.low), pytest.approx(direct.high))
    one = gap_interval([0.5], [0.0], [1.0])
    assert (one.value, one.low, one.high, one.n) == (0.5, None, None, 1)


def test_gap_interval_is_paired() -> None:
    # The model is always exactly half way, however hard the sample: pairing leaves no width.
    rng = np.random.default_rng(8)
    floor, ceiling = rng.uniform(5, 50, 40), rng.uniform(0, 1, 40)
    estimate = gap_interval((floor + ceiling) / 2, floor, ceiling)
    assert (estimate.value, estimate.low, estimate.high) == (
        pytest.approx(0.5),
        pytest.approx(0.5),
        pytest.approx(0.5),
    )


def test_gap_interval_uses_common_samples_only() -> None:
    estimate = gap_interval([1.0, None, 3.0], [4.0, 100.0, 4.0], [0.0, 0.0, 0.0])
    assert (estimate.value, estimate.n) == (pytest.approx(0.5), 2)
    assert gap_interval([None], [1.0], [0.0]).value is None


def test_gap_interval_has_none_where_the_ceiling_may_be_the_floor() -> None:
    estimate = gap_interval([0.5, 0.5], [0.0, 1.0], [1.0, 0.5])
    assert estimate.value is not None
    assert (estimate.low, estimate.high) == (None, None)


def test_what_a_batch_shares_is_said_once() -> None:
    """Ten batches of 25 with one time each: intervals that take pictures as independent cover 30 %."""
    rng, covered = np.random.default_rng(0), 0
    names = [str(i) for i in range(250)]
    groups = {name: int(name) // 25 for name in names}
    for _ in range(200):
        values = np.repeat(rng.normal(1, 0.1, 10), 25)
        found = grouped_interval(values, clusters=names, groups=groups)
        assert found.low is not None and found.high is not None and found.n == 250
        covered += found.low <= 1 <= found.high
    assert 0.85 <= covered / 200 <= 0.97  # percentiles of ten: a little narrow


def test_groups_of_one_sample_are_samples() -> None:
    values, names = [1.0, 4.0, None, 2.0, 9.0, 3.0], ["a", "a", "b", "c", "d", "e"]
    one_each = {name: i for i, name in enumerate("abcde")}
    found = grouped_interval(values, clusters=names, groups=one_each)
    plain = mean_interval(values, clusters=names)
    assert (found.value, found.n) == (plain.value, plain.n) == (4.125, 4)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high))
    alone = grouped_interval(values, clusters=names, groups=dict.fromkeys("abcde", 7))
    assert (alone.value, alone.low, alone.high) == (4.125, None, None)
    nothing = grouped_interval([None], clusters=["a"], groups={"a": 0})
    assert (nothing.value, nothing.n) == (None, 0)
