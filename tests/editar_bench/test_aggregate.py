"""Numbers of set-level metrics: which pictures they are of, and the gap over all of them."""

from types import SimpleNamespace

import numpy as np
import pytest

from editar_bench.contracts import MetricInfo
from editar_bench.metrics.canny_published import CannyF1Pooled
from editar_bench.stages.aggregate import ModelResults, TaskResults, aggregate_task
from editar_bench.stages.samples import Sample
from editar_bench.statistics import gap_closed
from editar_bench.types import Task

IDS = [f"s{i}" for i in range(12)]


class Spread:
    """A set-level metric that is no mean."""

    info = MetricInfo(
        name="spread", protocol="test.spread.v1", unit="", direction="lower", version=1,
        tasks=frozenset({Task.EDGE}), gap="shuffled", set_level=True, description="deviation",
    )  # fmt: skip

    def reduce(self, observations):
        return float(observations[:, 1].std())


def results(label, tables, metric):
    """Of a model whose pictures have these observations: sample to rows."""
    keys = {s: [f"{label}/{s}/{k}" for k in range(len(t))] for s, t in tables.items()}
    model = SimpleNamespace(
        label=label, key=label, kind="measured", ceiling="codec", fits=lambda other: True
    )
    return ModelResults(
        model=model,
        outputs={s: [{"output_id": k} for k in names] for s, names in keys.items()},
        arrays={
            metric.info.name: {
                k: row for s, t in tables.items() for k, row in zip(keys[s], t, strict=True)
            }
        },
    )


def number(metric, model, floor, ceiling):
    """The whole set's aggregate of the model."""
    three = [
        results(label, tables, metric)
        for label, tables in (("model", model), ("shuffled", floor), ("codec", ceiling))
    ]
    (found,) = aggregate_task(
        TaskResults(
            run_id="r", suite="scenes", task="edge", dataset="scenes", length=len(IDS),
            samples=[Sample(id=s, slices=()) for s in IDS], infos=[metric.info],
            reducers={metric.info.name: metric}, broken={}, unscored={}, slice_lengths={}, results=three[:1],
            references={r.model.label: r for r in three[1:]},
        )
    )  # fmt: skip
    return found


def tables(seed, width, repeats=4):
    random = np.random.default_rng(seed)
    return {
        s: [np.array([i, *random.integers(1, 50, width)], dtype=float) for _ in range(repeats)]
        for i, s in enumerate(IDS)
    }


def stacked(table):
    return np.stack([row for rows in table.values() for row in rows])


@pytest.mark.parametrize(("metric", "width"), [(Spread(), 1), (CannyF1Pooled(), 3)])
def test_gaps_are_of_all_repeats(metric, width):
    three = [tables(seed, width) for seed in range(3)]
    values = [metric.reduce(stacked(table)) for table in three]
    found = number(metric, *three)
    assert found.value == values[0]
    assert found.gap_closed == pytest.approx(gap_closed(*values))
    assert found.gap_low < found.gap_closed < found.gap_high


def test_a_prompt_without_its_four_pictures_is_missing_and_counted():
    metric = CannyF1Pooled()
    three = [tables(seed, 3) for seed in range(3)]
    del three[0]["s3"][2]
    found = number(metric, *three)
    for table in three:
        table.pop("s3")
    values = [metric.reduce(stacked(table)) for table in three]
    assert found.value == values[0]
    assert (found.n, found.n_undefined, found.n_expected) == (11, 1, 12)
    assert found.gap_closed == pytest.approx(gap_closed(*values))


def test_a_metric_that_breaks_is_a_failed_number_and_no_failed_run():
    class Broken(Spread):
        def reduce(self, observations):
            raise np.linalg.LinAlgError("not finite")

    found = number(Broken(), *(tables(seed, 1) for seed in range(3)))
    assert (found.status, found.value, found.n) == ("failed", None, 0)
    assert "LinAlgError: not finite" in found.reason


def test_a_gap_that_breaks_leaves_the_value():
    class Broken(Spread):
        def reduce(self, observations):
            if np.isnan(observations).any():
                raise np.linalg.LinAlgError("not finite")
            return super().reduce(observations)

    three = [tables(seed, 1) for seed in range(3)]
    three[2]["s0"][0][1] = np.nan
    found = number(Broken(), *three)
    assert found.status == "ok" and found.value == Broken().reduce(stacked(three[0]))
    assert found.gap_closed is None and "LinAlgError" in found.gap_reason


def test_too_few_pictures_for_a_set_level_metric_are_undefined_and_not_counted():
    class Few(Spread):
        def reduce(self, observations):
            return None

    found = number(Few(), *(tables(seed, 1) for seed in range(3)))
    assert (found.status, found.value, found.n, found.n_undefined) == ("ok", None, 0, 12)
    assert "undefined on these 12 samples" in found.reason


def test_no_whole_prompt_is_no_value():
    metric = CannyF1Pooled()
    found = number(metric, *(tables(seed, 3, repeats=3) for seed in range(3)))
    assert found.value is None and found.gap_closed is None
    assert (found.n, found.n_undefined) == (0, 12)
