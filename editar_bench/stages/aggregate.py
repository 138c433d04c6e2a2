"""Third stage: numbers. Means or pooled values with intervals, whole and per slice, and `gap_closed`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from editar_bench.contracts import Estimate, MetricInfo, SetMetric
from editar_bench.cost import COST, Place, cost_value, main_place, place_of
from editar_bench.plan import ModelEntry
from editar_bench.stages.samples import Sample
from editar_bench.statistics import (
    SET_RESAMPLES,
    gap_closed,
    gap_interval,
    grouped_interval,
    influence_interval,
    mean_interval,
    mean_of_known,
    set_interval,
)
from editar_bench.store import Aggregate, ScoreKey

Values = dict[str, list[float | None]]  # sample id -> one value a repeat
Arrays = dict[str, list[NDArray[Any]]]  # sample id -> one observation a repeat
EMPTY = Estimate(value=None, low=None, high=None, n=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelResults:
    """All that is stored of one model on one task: output rows by sample, scores, and why samples are missing."""

    model: ModelEntry
    refusal: tuple[str, str] | None = None
    outputs: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    scores: Mapping[ScoreKey, float | None] = field(default_factory=dict)
    arrays: Mapping[str, Mapping[str, NDArray[Any]]] = field(default_factory=dict)  # by metric
    failures: str = ""
    _values: dict[str, Values] = field(default_factory=dict, repr=False)

    def values(self, info: MetricInfo) -> Values:
        """Per sample the values of its pictures; a scored but undefined one is None."""
        if info.name not in self._values:
            self._values[info.name] = self._collect(info)
        return self._values[info.name]

    def _collect(self, info: MetricInfo) -> Values:
        if info in COST:
            return self._costs(info)
        found: Values = {}
        for sample_id, rows in self.outputs.items():
            for row in rows:
                key = (row["output_id"], info.name, info.protocol, info.version)
                if key in self.scores:
                    found.setdefault(sample_id, []).append(self.scores[key])
        return found

    def _costs(self, info: MetricInfo) -> Values:
        place = self.cost_place()
        found: Values = {}
        for sample_id, rows in self.outputs.items():
            for row in rows:
                if place is None or place_of(row) == place[0]:
                    found.setdefault(sample_id, []).append(cost_value(info, row))
        return found

    def cost_place(self) -> tuple[Place, int] | None:
        """Where the cost was measured, and how many pictures were made elsewhere; None when nothing cost."""
        return main_place(row for rows in self.outputs.values() for row in rows)

    def remark(self, info: MetricInfo) -> str:
        """What a reader of the number must know: failed pictures, and of a cost where it was measured."""
        place = self.cost_place() if info in COST else None
        if place is None:
            return self.failures
        others = f"without {place[1]} pictures made elsewhere" if place[1] else ""
        return "; ".join(filter(None, (str(place[0]), others, self.failures)))

    def observations(self, info: MetricInfo) -> Arrays:
        """Per sample the observations of its pictures."""
        stored = self.arrays.get(info.name, {})
        return {
            sample_id: arrays
            for sample_id, rows in self.outputs.items()
            if (arrays := [stored[r["output_id"]] for r in rows if r["output_id"] in stored])
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResults:
    """One task of one run, ready to be summed up."""

    run_id: str
    suite: str
    task: str
    dataset: str
    length: int  # of the whole split
    samples: Sequence[Sample]
    infos: Sequence[MetricInfo]
    reducers: Mapping[str, SetMetric]  # the set-level metrics that can be used
    broken: Mapping[str, str]  # metric -> why it could not be used
    unscored: Mapping[str, Mapping[str, str]]  # model -> metric -> why it failed on pictures
    slice_lengths: Mapping[str, int]  # samples of the whole split in each slice
    results: Sequence[ModelResults]
    references: Mapping[str, ModelResults]  # floor and ceiling rows by label


def aggregate_task(task: TaskResults) -> list[Aggregate]:
    """All numbers of a task. Slices come outermost: equal counts share their resampling."""
    whole = [sample.id for sample in task.samples]
    groups: dict[str, list[str]] = {"": whole}
    for sample in task.samples:
        for name in sample.slices:
            groups.setdefault(name, []).append(sample.id)
    return [
        _number(task, result, info, name, ids)
        for name, ids in groups.items()
        for info in task.infos
        for result in task.results
        if not (name and result.refusal)
    ]


def _number(
    task: TaskResults, result: ModelResults, info: MetricInfo, name: str, ids: Sequence[str]
) -> Aggregate:
    estimate, undefined, broken = EMPTY, 0, ""
    try:
        estimate, undefined = _estimate(task, result, info, name, ids)
    except Exception as error:  # one metric of one model; the others have their numbers
        broken = _broken(error)
    status, reason = result.refusal or ("ok", result.remark(info))
    if info.set_level and estimate.value is None and undefined:
        reason = "; ".join(filter(None, (f"undefined on these {undefined} samples", reason)))
    if status == "ok" and estimate.n == undefined == 0:
        unscored = task.unscored.get(result.model.label, {}).get(info.name, "")
        if why := broken or task.broken.get(info.name) or unscored or result.failures:
            status, reason = "failed", why
    gap, why_no_gap = EMPTY, ""
    if estimate.value is not None and info.gap != "none":
        gap, why_no_gap = _gap(task, result, info, name, ids)
    return Aggregate(
        run_id=task.run_id,
        suite=task.suite,
        task=task.task,
        dataset=task.dataset,
        model=result.model.label,
        metric=info.name,
        protocol=info.protocol,
        version=info.version,
        model_key=result.model.key,
        kind=cast(Literal["measured", "reference"], result.model.kind),
        higher_is_better=info.direction == "higher",
        n_expected=task.slice_lengths[name] if name else task.length,
        value=estimate.value,
        ci_low=estimate.low,
        ci_high=estimate.high,
        n=estimate.n,
        n_undefined=undefined,
        slice=name,
        status=cast(Literal["ok", "unsupported", "failed"], status),
        reason=reason,
        gap_closed=gap.value,
        gap_low=gap.low,
        gap_high=gap.high,
        gap_reason=why_no_gap,
    )


def _estimate(
    task: TaskResults, result: ModelResults, info: MetricInfo, name: str, ids: Sequence[str]
) -> tuple[Estimate, int]:
    """The value with its interval, and how many samples were scored without having a value."""
    if info.set_level:
        if info.name not in task.reducers:
            return EMPTY, 0
        metric, arrays = task.reducers[info.name], result.observations(info)
        stacked, clusters = counted(metric, *_stack(arrays, ids))
        if not clusters:
            return EMPTY, sum(1 for sample_id in ids if sample_id in arrays)
        left_out = len(arrays.keys() & set(ids)) - len(set(clusters))
        estimate = _set_estimate(metric, stacked, clusters, name)
        if estimate.value is None:  # too few for the metric: none of them counts
            return EMPTY, left_out + len(set(clusters))
        return estimate, left_out
    values = result.values(info)
    rows = [(value, sample_id) for sample_id in ids for value in values.get(sample_id, ())]
    pictures, clusters = [v for v, _ in rows], [s for _, s in rows]
    place = result.cost_place() if info in COST else None
    if place is None:
        estimate = mean_interval(pictures, clusters=clusters)
    else:  # the pictures of a batch have one wall time and one peak
        size = place[0].batch_size
        batches = {sample.id: i // size for i, sample in enumerate(task.samples)}
        estimate = grouped_interval(pictures, clusters=clusters, groups=batches)
    scored = sum(1 for sample_id in ids if sample_id in values)
    return estimate, scored - estimate.n


def _set_estimate(
    metric: SetMetric, observations: NDArray[Any], clusters: Sequence[str], name: str
) -> Estimate:
    """With the interval that suits the metric."""
    if not name and hasattr(metric, "influence"):
        alone = set_interval(observations, metric.reduce, clusters=clusters, resamples=0)
        if alone.value is None:
            return alone
        return influence_interval(alone.value, metric.influence(observations), clusters=clusters)
    return set_interval(
        observations,
        metric.reduce,
        clusters=clusters,
        resamples=_effort(name),
    )


def _stack(arrays: Arrays, ids: Sequence[str]) -> tuple[NDArray[Any], list[str]]:
    rows = [(array, sample_id) for sample_id in ids for array in arrays.get(sample_id, ())]
    if not rows:
        return np.empty(0), []
    return np.stack([array for array, _ in rows]), [sample_id for _, sample_id in rows]


def counted(
    metric: SetMetric, stacked: NDArray[Any], clusters: Sequence[str]
) -> tuple[NDArray[Any], list[str]]:
    """Of observations, and the samples they belong to, those that the metric's value is of."""
    if not hasattr(metric, "counted") or not len(clusters):
        return stacked, list(clusters)
    chosen = metric.counted(stacked)
    return stacked[chosen], [c for c, kept in zip(clusters, chosen, strict=True) if kept]


def _gap(
    task: TaskResults, result: ModelResults, info: MetricInfo, name: str, ids: Sequence[str]
) -> tuple[Estimate, str]:
    """`gap_closed` from the metric's floor to the ceiling of the model's decoder; without one the reason."""
    rows = []
    for label in (info.gap, result.model.ceiling):
        row = task.references.get(label)
        if row is None or not row.outputs:
            return EMPTY, f"no pictures of '{label}' by the present weights on this data; run it"
        if not row.model.fits(result.model):
            return EMPTY, f"'{label}' was made with other weights than this model's; run both again"
        rows.append(row)
    try:
        gap = _gap_estimate(task, (result, *rows), info, name, ids)
    except Exception as error:  # of a reference row; the model's value stands
        return EMPTY, _broken(error)
    if gap.value is None:
        labels = f"'{info.gap}' and '{result.model.ceiling}'"
        return gap, f"{labels} lack values on these samples, or they are equal"
    return gap, ""


def _broken(error: Exception) -> str:
    return f"summing up failed: {type(error).__name__}: {error}"


def _gap_estimate(
    task: TaskResults,
    three: Sequence[ModelResults],
    info: MetricInfo,
    name: str,
    ids: Sequence[str],
) -> Estimate:
    """The gap of (model, floor, ceiling) on their common samples."""
    if not info.set_level:
        model, floor, ceiling = (_means(r.values(info), ids) for r in three)
        return gap_interval(model, floor, ceiling)
    metric = task.reducers[info.name]  # it made the model's value, so it can be used
    stacks = [counted(metric, *_stack(r.observations(info), ids)) for r in three]
    places = [_places(clusters) for _, clusters in stacks]
    common = [sample_id for sample_id in ids if all(sample_id in p for p in places)]
    if not common:
        return EMPTY

    def reduce_gap(drawn: NDArray[Any]) -> float | None:
        chosen = [[i for k in drawn for i in place[common[k]]] for place in places]
        return gap_closed(
            *(metric.reduce(rows[index]) for (rows, _), index in zip(stacks, chosen, strict=True))
        )

    return set_interval(np.arange(len(common)), reduce_gap, resamples=_effort(name))


def _places(clusters: Sequence[str]) -> dict[str, list[int]]:
    """Where the observations of each sample stand."""
    found: dict[str, list[int]] = {}
    for place, sample_id in enumerate(clusters):
        found.setdefault(sample_id, []).append(place)
    return found


def _effort(name: str) -> int:
    # A set-level value is reduced anew for every resample; slices get the value alone.
    return 0 if name else SET_RESAMPLES


def _means(values: Values, ids: Sequence[str]) -> list[float | None]:
    return [mean_of_known(values.get(sample_id, ())) for sample_id in ids]
