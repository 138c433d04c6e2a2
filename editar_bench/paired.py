"""Two models on the same samples: the difference with its interval, a test of it, and how large it is.

The null hypothesis is that it does not matter which of the two made a sample's picture. Exchanging the two within
samples therefore leaves the distribution of the difference as it is, and the p-value is the share of such exchanges
that are at least as far from zero as what was seen: exact, whatever the distribution of the values.
Legend: N samples, S exchanges.

Sources: Fisher, The Design of Experiments (1935), section 21 (exchange within pairs); Phipson and Smyth, Permutation
P-values Should Never Be Zero (2010); Holm, A Simple Sequentially Rejective Multiple Test Procedure (1979); Cohen,
Statistical Power Analysis (1988), section 2.3.5 (d_z).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from editar_bench.contracts import Estimate
from editar_bench.statistics import Floats, influence_interval, mean_interval, set_interval

EXCHANGES: Final = 9_999
SET_EXCHANGES: Final = 999  # a set-level metric is reduced anew for each, twice
SEED: Final = 0
_CHUNK: Final = 4_000_000  # signs held at once (32 MB)
_ROUNDING: Final = 1e-9  # relative: sums of the same numbers in another order count as equal


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """Model A against model B on their common samples.

    `a` and `b` are the two values, `difference` is a - b with its 95 % bootstrap interval, `p` the two-sided p-value.
    Only metrics with a value a sample have the others: `effect` is Cohen's d_z, the mean difference in units of the
    differences' standard deviation (None where that is 0), and `higher`, `equal`, `lower` count the samples where A's
    value is above, equal to, and below B's.
    """

    a: float | None
    b: float | None
    difference: Estimate
    p: float | None
    effect: float | None = None
    higher: int | None = None
    equal: int | None = None
    lower: int | None = None


def paired_means(a_N: Floats, b_N: Floats, *, exchanges: int = EXCHANGES) -> Paired:
    """Compare means over samples.

    Args:
        a_N: one value a sample, all defined.
        b_N: those of the other model, in the same order.
        exchanges: random ones drawn; where there are no more than that, all of them are counted.
    """
    difference_N = np.asarray(a_N, float) - np.asarray(b_N, float)
    n = len(difference_N)
    if n == 0:
        return Paired(a=None, b=None, difference=mean_interval(difference_N), p=None)
    deviation = float(difference_N.std(ddof=1)) if n > 1 else 0.0
    mean = float(difference_N.mean())
    return Paired(
        a=float(np.mean(a_N)),
        b=float(np.mean(b_N)),
        difference=mean_interval(difference_N),
        p=sign_flip(difference_N, exchanges=exchanges) if n > 1 else None,
        effect=mean / deviation if deviation > _ROUNDING * abs(mean) else None,
        higher=int((difference_N > 0).sum()),
        equal=int((difference_N == 0).sum()),
        lower=int((difference_N < 0).sum()),
    )


def sign_flip(difference_N: Floats, *, exchanges: int = EXCHANGES) -> float:
    """Two-sided p-value of a mean difference under exchanges within samples, each of which flips a sign."""
    n = len(difference_N)
    seen = abs(difference_N.sum()) * (1 - _ROUNDING)
    if 2**n <= exchanges:
        signs_SN = 1.0 - 2.0 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)
        return float((np.abs(signs_SN @ difference_N) >= seen).mean())
    rng = np.random.default_rng(SEED)
    step, count = max(1, _CHUNK // n), 0
    for start in range(0, exchanges, step):
        signs_SN = 1.0 - 2.0 * rng.integers(2, size=(min(step, exchanges - start), n))
        count += int((np.abs(signs_SN @ difference_N) >= seen).sum())
    return (count + 1) / (exchanges + 1)


def paired_sets(
    a: NDArray[Any],
    b: NDArray[Any],
    reduce: Callable[[NDArray[Any]], float | None],
    *,
    clusters: Sequence[str],
    exchanges: int = SET_EXCHANGES,
    advance: Callable[[int], None] = lambda count: None,
) -> Paired:
    """Compare the values of a set-level metric.

    Args:
        a: observations of pictures stacked on axis 0.
        b: those of the other model, in the same order of samples and repeats.
        reduce: from stacked observations to the value; None where it is undefined.
        clusters: the sample each row belongs to; a sample's rows are exchanged together.
        exchanges: random ones drawn.
        advance: told after every exchange.
    """

    def difference(pairs: NDArray[Any]) -> float | None:
        one, other = reduce(pairs[:, 0]), reduce(pairs[:, 1])
        return None if one is None or other is None else one - other

    pairs = np.stack([a, b], axis=1)
    estimate = set_interval(pairs, difference, clusters=clusters)
    if estimate.value is None:
        return Paired(a=None, b=None, difference=estimate, p=None)
    rng = np.random.default_rng(SEED)
    _, group = np.unique(np.asarray(clusters), return_inverse=True)
    seen = abs(estimate.value) * (1 - _ROUNDING)
    count = 0
    for _ in range(exchanges):
        flipped = rng.integers(2, size=group.max() + 1).astype(bool)[group]
        exchanged = pairs.copy()
        exchanged[flipped] = pairs[flipped, ::-1]
        again = difference(exchanged)
        # Where the metric is undefined after an exchange, the exchange cannot speak against the null hypothesis.
        count += again is None or abs(again) >= seen
        advance(1)
    return Paired(
        a=reduce(a),
        b=reduce(b),
        difference=estimate,
        p=(count + 1) / (exchanges + 1) if estimate.n > 1 else None,
    )


def paired_influences(
    a: float, b: float, a_N: Floats, b_N: Floats, *, clusters: Sequence[str]
) -> Paired:
    """Compare the values of a set-level metric by the influences of the pictures on them.

    What is exchanged are pseudo-values: the value plus the picture's influence, whose mean is the value. The p-value is
    therefore as good as the influences are, exact only for a mean.

    Args:
        a: the value of the one model.
        b: that of the other.
        a_N: influences of the pictures on `a` (`statistics.influence_interval`).
        b_N: on `b`, in the same order of samples and repeats.
        clusters: the sample each picture belongs to; a sample's pictures are exchanged together.
    """
    moved_N = a_N - b_N
    places = {name: place for place, name in enumerate(dict.fromkeys(clusters))}
    group_N = np.array([places[name] for name in clusters])
    pseudo = a - b + np.bincount(group_N, weights=moved_N) / np.bincount(group_N)
    return Paired(
        a=a,
        b=b,
        difference=influence_interval(a - b, moved_N, clusters=clusters),
        p=sign_flip(pseudo) if len(places) > 1 else None,
    )


def holm(p: Sequence[float | None]) -> list[float | None]:
    """P-values such that rejecting those below α errs once or more with probability α at most; None stays None."""
    order = sorted((value, i) for i, value in enumerate(p) if value is not None)
    adjusted: list[float | None] = [None] * len(p)
    least = 0.0
    for rank, (value, i) in enumerate(order):
        least = max(least, min(1.0, (len(order) - rank) * value))
        adjusted[i] = least
    return adjusted
