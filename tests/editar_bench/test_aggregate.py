"""Numbers of set-level metrics: which pictures they are of, and the gap over all of them."""

from dataclasses import replace
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


ERROR = MetricInfo(
    name="error", protocol="test.error.v1", unit="", direction="lower", version=2,
    tasks=frozenset({Task.EDGE}), description="a value a sample",
)  # fmt: skip


def summed_up(values, info=ERROR, references=None, **more):
    """Whole and sliced numbers of a model with these values: sample to one a repeat."""
    result = results("model", {s: list(v) for s, v in values.items()}, SimpleNamespace(info=info))
    keys = [row["output_id"] for rows in result.outputs.values() for row in rows]
    flat = [value for repeats in values.values() for value in repeats]
    scores = {(k, info.name, info.protocol, 2): v for k, v in zip(keys, flat, strict=True)}
    older = {(k, info.name, info.protocol, 1): 1e6 for k in keys}
    found = aggregate_task(
        TaskResults(
            run_id="r", suite="scenes", task="edge", dataset="scenes", length=20,
            samples=[Sample(id=s, slices=("seen", s[1:])) for s in IDS[:4]], infos=[info],
            reducers={}, broken={}, unscored={}, slice_lengths={"seen": 15} | {str(i): 1 for i in range(12)},
            results=[replace(result, scores=older | scores, **more)], references=references or {},
        )
    )  # fmt: skip
    return {row.slice: row for row in found}


def test_values_are_means_over_samples_and_undefined_ones_are_counted():
    values = {"s0": [1.0, 3.0], "s1": [None, 5.0], "s2": [None, None]}  # nothing of s3 is there
    rows = summed_up(values)
    assert list(rows) == ["", "seen", "0", "1", "2", "3"]
    assert (rows[""].value, rows[""].n, rows[""].n_undefined, rows[""].n_expected) == (
        3.5,
        2,
        1,
        20,
    )
    assert (rows["seen"].value, rows["seen"].n_expected) == (3.5, 15)
    assert [rows[k].value for k in "0123"] == [2.0, 5.0, None, None]
    assert [rows[k].n_undefined for k in "0123"] == [0, 0, 1, 0]
    assert not rows[""].higher_is_better and rows[""].status == "ok"
    assert (rows[""].gap_closed, rows[""].gap_reason) == (None, "")  # a metric without a gap


def test_only_where_nothing_was_scored_failures_make_a_failed_number():
    nothing_defined = summed_up({"s0": [None], "s1": [None]}, failures="2 failed, first: why")[""]
    assert (nothing_defined.status, nothing_defined.n_undefined) == ("ok", 2)
    nothing = summed_up({}, failures="4 failed, first: why")[""]
    assert (nothing.status, nothing.reason) == ("failed", "4 failed, first: why")


def test_a_refused_model_is_one_row_and_none_a_slice():
    rows = summed_up({}, refusal=("unsupported", "it draws no edges"))
    assert list(rows) == [""]
    assert (rows[""].status, rows[""].reason) == ("unsupported", "it draws no edges")


def test_a_sample_without_a_value_is_no_zero_in_the_gap():
    info = replace(ERROR, gap="shuffled")
    ends = {"shuffled": [10.0, 10.0, 10.0], "codec": [0.0, 0.0, 0.0]}
    references = {
        label: replace(
            results(label, {s: [0] for s in IDS[:3]}, SimpleNamespace(info=info)),
            scores={
                (f"{label}/{s}/0", info.name, info.protocol, 2): v
                for s, v in zip(IDS[:3], values, strict=True)
            },
        )
        for label, values in ends.items()
    }
    row = summed_up({"s0": [4.0], "s1": [None], "s2": [2.0]}, info, references)[""]
    assert row.gap_closed == pytest.approx(0.7)  # of s0 and s2


def test_no_whole_prompt_is_no_value():
    metric = CannyF1Pooled()
    found = number(metric, *(tables(seed, 3, repeats=3) for seed in range(3)))
    assert found.value is None and found.gap_closed is None
    assert (found.n, found.n_undefined) == (0, 12)
