"""Two models of a store side by side: every metric they share, on the samples they share.

What a comparison reads is what the leaderboard shows: the run behind each of its two rows says which pictures count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from editar_bench import paired, parts
from editar_bench.contracts import SetMetric
from editar_bench.cost import COST
from editar_bench.errors import UserError
from editar_bench.paired import Paired
from editar_bench.progress import Reporter, Silent
from editar_bench.reader import Reader
from editar_bench.registry import METRICS, near_matches
from editar_bench.seeds import seed_of
from editar_bench.types import Task

Place = tuple[str, int]  # sample, repeat

_QUIET = Silent()
_COSTS = {info.name for info in COST}
LEVEL = 0.05  # of the family of all tests of a comparison

_ROWS = """
    SELECT b.suite, b.task, b.dataset, b.metric, b.protocol, b.model, b.run_id, b.higher_is_better,
           a.version, a.model_key, m.set_level, m.unit, m.gap
    FROM leaderboard_best b
    JOIN aggregate a USING (run_id, suite, task, dataset, model, metric, protocol, slice)
    JOIN metric m USING (metric, protocol)
    WHERE b.slice = '' AND b.kind <> 'reported' AND b.value IS NOT NULL AND b.model = ?
"""
_OUTPUTS = """
    SELECT output_id, sample_id, repeat, seed FROM output
    WHERE model_key = ? AND task = ? AND dataset = ? AND ? IN ('', coalesce(dataset_fingerprint, ''))
          AND status = 'ok'
    QUALIFY row_number() OVER (PARTITION BY sample_id, repeat, seed ORDER BY created_at DESC NULLS LAST) = 1
    ORDER BY sample_id, repeat
"""
_SCORES = """
    SELECT output_id, s.value FROM score s JOIN output o USING (output_id)
    WHERE o.model_key = ? AND o.task = ? AND o.dataset = ? AND s.metric = ? AND s.protocol = ? AND s.version = ?
          AND s.value IS NOT NULL
"""
_OBSERVATIONS = """
    SELECT output_id, s.data, s.shape, s.dtype FROM observation s JOIN output o USING (output_id)
    WHERE o.model_key = ? AND o.task = ? AND o.dataset = ? AND s.metric = ? AND s.protocol = ? AND s.version = ?
"""
_SLICE = """
    SELECT sample_id FROM sample
    WHERE task = ? AND dataset = ? AND ? IN ('', coalesce(dataset_fingerprint, ''))
          AND (category = ? OR list_contains(slices, ?))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One metric of a comparison; `p_holm` is corrected for all the tests made with it."""

    suite: str
    task: str
    dataset: str
    metric: str
    protocol: str
    unit: str
    higher_is_better: bool
    paired: Paired
    left_out: (
        int  # samples that both models have, but where the metric is undefined for one of them
    )
    p_holm: float | None = None

    @property
    def better(self) -> str:
        """`A` or `B` where the corrected test tells them apart, else nothing."""
        if self.p_holm is None or self.p_holm >= LEVEL or not self.paired.difference.value:
            return ""
        return "A" if (self.paired.difference.value > 0) == self.higher_is_better else "B"

    @property
    def a_better(self) -> int | None:
        """Samples where A is better."""
        return self.paired.higher if self.higher_is_better else self.paired.lower

    @property
    def b_better(self) -> int | None:
        """Samples where B is better."""
        return self.paired.lower if self.higher_is_better else self.paired.higher


def compare(
    reader: Reader,
    a: str,
    b: str,
    *,
    tasks: Sequence[str] = (),
    datasets: Sequence[str] = (),
    metrics: Sequence[str] = (),
    slice_name: str = "",
    reporter: Reporter = _QUIET,
) -> list[Compared]:
    """Compare two models on everything both have been scored on, with Holm's correction over all of it.

    Args:
        reader: of the store.
        a: a model as the leaderboard calls it, settings included.
        b: the other one.
        tasks: only these; all without it.
        datasets: only these; all without it.
        metrics: only these; without it all but costs and distances between distributions, which have no pairs to speak
            of and take a minute each.
        slice_name: only samples of this category or slice.
        reporter: told what takes long.

    Raises:
        UserError: a name is unknown, the two have nothing in common, or were made on different data.
    """
    if a == b:
        raise UserError(f"'{a}' cannot be compared with itself; name two models.")
    rows_a, rows_b = (_rows(reader, model, tasks, datasets) for model in (a, b))
    shared = sorted((place for place in rows_a if place in rows_b), key=lambda p: _order(rows_a[p]))
    _check(shared, a, b, metrics)
    chosen = [
        place
        for place in shared
        if (place[3] in metrics if metrics else _by_default(rows_a[place]))
    ]
    if not chosen:
        raise UserError(
            f"'{a}' and '{b}' share only distances between distributions; name them with --metric."
        )
    pictures = _Cached(reader, slice_name)
    found = [_compared(pictures, rows_a[place], rows_b[place], reporter) for place in chosen]
    if all(one.paired.difference.n == 0 for one in found):
        if slice_name:
            known = set(reader.slices(model=(a, b))["slice"])
            raise UserError(
                f"'{a}' and '{b}' share no sample of a slice '{slice_name}'; {near_matches(slice_name, known)}"
            )
        raise UserError(f"'{a}' and '{b}' have no sample in common; run both on the same ones.")
    return one_family(found)


def one_family(found: Sequence[Compared]) -> list[Compared]:
    """The same with Holm's correction over all of these tests."""
    corrected = paired.holm([one.paired.p for one in found])
    return [replace(one, p_holm=p) for one, p in zip(found, corrected, strict=True)]


def _rows(
    reader: Reader, model: str, tasks: Sequence[str], datasets: Sequence[str]
) -> dict[tuple[str, ...], dict[str, Any]]:
    """The leaderboard's rows of a model by suite, task, data set, metric and protocol."""
    records = reader.frame(_ROWS, [model]).to_dict("records")
    if not records:
        raise UserError(_nothing_of(reader, model))
    for column, name, wanted in (("task", "task", tasks), ("dataset", "data set", datasets)):
        have = {record[column] for record in records}
        for value in wanted:
            if value not in have:
                raise UserError(
                    f"'{model}' has no results on the {name} '{value}'"
                    f"{_refusal(reader, model, {column: value})}; it has {', '.join(sorted(have))}."
                )
    keys = ("suite", "task", "dataset", "metric", "protocol")
    return {
        tuple(record[key] for key in keys): {str(name): value for name, value in record.items()}
        for record in records
        if (not tasks or record["task"] in tasks)
        and (not datasets or record["dataset"] in datasets)
        and record["metric"] not in _COSTS
    }


def _refusal(reader: Reader, model: str, place: Mapping[str, str]) -> str:
    """In brackets, what the rows without a value there say; empty where there is no row at all."""
    rows = reader.leaderboard(kind=("measured", "reference"), model=model, **place)
    reasons = sorted({str(reason).rstrip(".") for reason in rows["reason"] if reason})
    return f" ({'; '.join(reasons)})" if reasons else ""


def _nothing_of(reader: Reader, model: str) -> str:
    """Why there is nothing to compare: the model is unknown, or nothing of it has a value."""
    rows = reader.leaderboard(kind=("measured", "reference"))
    known = set(rows["model"])
    if model not in known:
        return f"{reader.out} has no results of '{model}'; {near_matches(model, known)}"
    own = rows[rows["model"] == model].to_dict("records")
    reasons = dict.fromkeys(
        f"{row['task']}: {(row['reason'] or row['status']).rstrip('.')}" for row in own
    )
    return (
        f"No row of '{model}' in {reader.out} holds a value ({'; '.join(reasons)}); name another "
        "model, or mend that and run it again."
    )


def _check(shared: Sequence[tuple[str, ...]], a: str, b: str, metrics: Sequence[str]) -> None:
    if not shared:
        raise UserError(f"'{a}' and '{b}' share no task and metric; run both on the same task.")
    known = {place[3] for place in shared}
    for name in metrics:
        if name in _COSTS:
            raise UserError(
                f"'{name}' is a cost, which belongs to batches and not to samples; `editar-bench report --metric "
                f"{name}` shows it."
            )
        if name not in known:
            raise UserError(
                f"'{a}' and '{b}' share no metric '{name}'; {near_matches(name, known)}"
            )


def _order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """By data set and task, metrics with a gap first."""
    tasks = list(Task)
    task = tasks.index(row["task"]) if row["task"] in tasks else len(tasks)
    return row["suite"], row["dataset"], task, row["gap"] == "none", row["metric"], row["protocol"]


def _by_default(row: Mapping[str, Any]) -> bool:
    # Pooled metrics have a gap; distances between distributions have none.
    return not row["set_level"] or row["gap"] != "none"


def _compared(
    pictures: _Cached, row: Mapping[str, Any], other: Mapping[str, Any], reporter: Reporter
) -> Compared:
    if row["version"] != other["version"]:
        raise UserError(
            f"{row['metric']} of '{row['model']}' and of '{other['model']}' are of different versions; "
            "run both again, stored pictures are only scored anew."
        )
    one, two = pictures.of(row), pictures.of(other)
    if one.fingerprint != two.fingerprint:
        raise UserError(
            f"'{row['model']}' and '{other['model']}' were run on different data for {row['task']} on "
            f"{row['dataset']}; run both again."
        )
    if row["set_level"]:
        a, b = one.observations(row), two.observations(other)
        common = sorted(a.keys() & b.keys())
        result = _paired_sets(
            row, [a[key] for key in common], [b[key] for key in common], common, reporter
        )
    else:
        means_a, means_b = one.means(row), two.means(other)
        order = sorted(means_a.keys() & means_b.keys())
        result = paired.paired_means(*(np.array([m[s] for s in order]) for m in (means_a, means_b)))
    return Compared(
        **{name: row[name] for name in ("suite", "task", "dataset", "metric", "protocol")},
        unit=row["unit"] or "",
        higher_is_better=bool(row["higher_is_better"]),
        paired=result,
        left_out=len(one.samples & two.samples) - result.difference.n,
    )


def _paired_sets(
    row: Mapping[str, Any],
    a: Sequence[NDArray[Any]],
    b: Sequence[NDArray[Any]],
    places: Sequence[Place],
    reporter: Reporter,
) -> Paired:
    metric = _set_metric(row)
    if not places:
        return paired.paired_means(np.empty(0), np.empty(0))
    stacks, clusters = (np.stack(a), np.stack(b)), [sample for sample, _ in places]
    if hasattr(metric, "counted"):
        both = metric.counted(stacks[0]) & metric.counted(stacks[1])
        stacks = stacks[0][both], stacks[1][both]
        clusters = [sample for sample, kept in zip(clusters, both, strict=True) if kept]
        if not clusters:
            return paired.paired_means(np.empty(0), np.empty(0))
    if hasattr(metric, "influence"):
        one, two = (metric.reduce(stack) for stack in stacks)
        if one is None or two is None:
            return paired.paired_means(np.empty(0), np.empty(0))
        one_N, two_N = (metric.influence(stack) for stack in stacks)
        return paired.paired_influences(one, two, one_N, two_N, clusters=clusters)
    title = f"{row['task']} · exchanges · {row['metric']}"
    with reporter.stage(title, paired.SET_EXCHANGES) as advance:
        return paired.paired_sets(
            *stacks,
            metric.reduce,
            clusters=clusters,
            advance=advance,
        )


def _set_metric(row: Mapping[str, Any]) -> SetMetric:
    """The metric that made the row's observations."""
    name, protocol = row["metric"], row["protocol"]
    for registered in METRICS.names():
        metric = METRICS.get(registered)()
        if (metric.info.name, metric.info.protocol) != (name, protocol):
            continue
        if metric.info.version != row["version"]:
            raise UserError(
                f"The store has {name} by another version of the metric; run the models again, "
                "stored pictures are only scored anew."
            )
        return cast(SetMetric, metric)
    raise UserError(
        f"The metric {name} ({protocol}) is not installed here, so its differences cannot be tested; "
        "install the package that offers it or name other metrics with --metric."
    )


class _Pictures:
    """The pictures behind a row of the leaderboard, and what metrics say about them."""

    def __init__(self, reader: Reader, row: Mapping[str, Any], slice_name: str) -> None:
        self._reader = reader
        self._place = [row[name] for name in ("model_key", "task", "dataset")]
        record = reader.run_record(row["run_id"])
        spec = record["spec"]
        task, dataset = row["task"], row["dataset"]
        self.fingerprint = record["provenance"].get("data", {}).get(f"{task}/{dataset}", "")
        self._places: dict[str, Place] = {}
        for output in reader.frame(_OUTPUTS, [*self._place, self.fingerprint]).to_dict("records"):
            sample, repeat = place = (output["sample_id"], int(output["repeat"]))
            # A judgement names neither seed nor data: it is about the pictures that have its scores.
            own = "seed" not in spec or int(output["seed"]) == seed_of(
                spec["seed"], task, dataset, sample, repeat
            )
            if own and repeat < spec.get("repeats", 1):
                self._places[output["output_id"]] = place
        if slice_name:
            wanted = [task, dataset, self.fingerprint, slice_name, slice_name]
            inside = set(reader.frame(_SLICE, wanted)["sample_id"])
            self._places = {k: place for k, place in self._places.items() if place[0] in inside}

    @property
    def samples(self) -> set[str]:
        """Samples with a picture."""
        return {sample for sample, _ in self._places.values()}

    def means(self, row: Mapping[str, Any]) -> dict[str, float]:
        """Per sample the mean of its pictures' defined values."""
        found: dict[str, list[float]] = {}
        for (sample, _), record in self._read(_SCORES, row):
            found.setdefault(sample, []).append(record["value"])
        return {sample: sum(values) / len(values) for sample, values in found.items()}

    def observations(self, row: Mapping[str, Any]) -> dict[Place, NDArray[Any]]:
        """What a set-level metric keeps of each picture."""
        return {
            place: parts.unpack_array(bytes(r["data"]), r["shape"], r["dtype"])
            for place, r in self._read(_OBSERVATIONS, row)
        }

    def _read(self, query: str, row: Mapping[str, Any]) -> Iterator[tuple[Place, dict[Any, Any]]]:
        metric = [row[name] for name in ("metric", "protocol", "version")]
        for record in self._reader.frame(query, [*self._place, *metric]).to_dict("records"):
            if record["output_id"] in self._places:
                yield self._places[record["output_id"]], record


class _Cached:
    """Pictures by row, read once for all metrics."""

    def __init__(self, reader: Reader, slice_name: str) -> None:
        self._reader, self._slice = reader, slice_name
        self._known: dict[tuple[str, ...], _Pictures] = {}

    def of(self, row: Mapping[str, Any]) -> _Pictures:
        """Those behind a row of the leaderboard."""
        key = tuple(row[name] for name in ("run_id", "model_key", "task", "dataset"))
        if key not in self._known:
            self._known[key] = _Pictures(self._reader, row, self._slice)
        return self._known[key]
