"""A run: for every task the stages generate, score and aggregate, over what the store does not have yet.

The driver (this file) holds the store's lock and decides what is missing; the stages write parts. Whenever it is
stopped, what the parts hold is kept, and the same command goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

from editar_bench import provenance
from editar_bench.batch_sizes import BatchSizes
from editar_bench.contracts import Metric, SetMetric
from editar_bench.engines import Engine, make_engine
from editar_bench.exchange import Exchange
from editar_bench.lookup import Lookup
from editar_bench.model_names import parse_label
from editar_bench.plan import ModelEntry, Plan, TaskEntry, build_models
from editar_bench.progress import Reporter
from editar_bench.stages.aggregate import ModelResults, TaskResults, aggregate_task
from editar_bench.stages.generate import GenerateJob, GenerateStage, SetupFailed, Tally
from editar_bench.stages.ready import ReadyMetrics
from editar_bench.stages.samples import record_samples, slice_lengths
from editar_bench.stages.score import Pending, ScoreStage
from editar_bench.store import Aggregate, RunRecord, Store

Refusal = tuple[str, str]  # status, reason
SCORE_BATCH = 25  # pictures a call; small enough that a stopped run loses little


@dataclass(slots=True)
class Summary:
    """What a run did; `problems` are sentences for the person who started it."""

    run_id: str
    aggregates: list[Aggregate] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def run(plan: Plan, out: Path, reporter: Reporter) -> Summary:
    """Carry out a plan and publish the results.

    Raises:
        UserError: the store cannot be used, or the disk is full; what was done is kept.
    """
    spec = plan.spec
    exchange = Exchange(spec.parts)
    with Store.open(out, exchange) as store:
        record = RunRecord(
            suite=spec.suite,
            dataset=", ".join(spec.datasets),
            spec=asdict(spec),
            provenance=_provenance(plan),
        )
        summary = Summary(store.begin_run(record))
        for remark in (remark for entry in plan.tasks for remark in entry.remarks):
            reporter.note(remark)
        sizes = BatchSizes(plan.device, spec.batch_size)
        try:
            engine = make_engine(spec.engine, out, plan.device, shared=not spec.parts)
            for entry in plan.tasks:
                _TaskDriver(store, plan, entry, reporter, summary, sizes, engine).run()
        except BaseException as error:
            with suppress(Exception):  # the first error is the one to tell
                store.finish_run(summary.run_id, "failed", str(error) or "interrupted")
            raise
        store.finish_run(summary.run_id, "finished", " ".join(summary.problems))
        return summary


def _provenance(plan: Plan) -> dict[str, Any]:
    return provenance.describe(
        plan.device,
        data={entry.key: entry.fingerprint for entry in plan.tasks},
        data_remarks={e.key: list(e.remarks) for e in plan.tasks if e.remarks},
        models={entry.label: entry.describe() for entry in plan.models},
        metrics={info.name: info.version for entry in plan.tasks for info in entry.infos},
    )


class _TaskDriver:
    """One task of a run, for all its models."""

    def __init__(
        self,
        store: Store,
        plan: Plan,
        entry: TaskEntry,
        reporter: Reporter,
        summary: Summary,
        sizes: BatchSizes,
        engine: Engine,
    ) -> None:
        self.store = store
        self.plan = plan
        self.entry = entry
        self.reporter = reporter
        self.summary = summary
        self.sizes = sizes
        self.engine = engine
        self.metrics = ReadyMetrics(entry.metrics, plan.device, store.out, store.exchange)
        self.unscored: dict[str, dict[str, str]] = {}  # model -> metric -> why it failed

    def run(self) -> None:
        self.store.write_metrics(self.entry.infos)
        with self.reporter.stage(f"{self.entry.title} · samples", self.entry.wanted) as advance:
            samples = record_samples(self.store, self.plan.spec.suite, self.entry, advance)
        lookup = Lookup(self.store, self.plan.spec, self.entry, samples)
        lengths = slice_lengths(self.entry, samples)
        refusals = {model.label: self._make(lookup, model) for model in self.plan.models}
        for model in self.plan.models:
            if refusals[model.label] is None:
                self._score(model.label, lookup.pending(model))
        self._aggregate(lookup, refusals, lengths)
        self.store.publish()

    def _make(self, lookup: Lookup, model: ModelEntry) -> Refusal | None:
        """Make the missing pictures; the status and the reason when that is impossible."""
        refusal = model.refusal(self.entry)
        if refusal is None:
            try:
                self._generate(lookup, model)
            except SetupFailed as error:
                refusal = ("failed", str(error))
        if refusal is not None:
            text = f"{model.label} on {self.entry.title}: {refusal[0]}, {refusal[1]}"
            self._say(text, problem=refusal[0] == "failed")
        return refusal

    def _generate(self, lookup: Lookup, model: ModelEntry) -> None:
        assert model.model is not None
        todo = lookup.missing_batches(model, self.sizes.of(model.label, model.model))
        count = sum(len(batch.wanted) for batch in todo)
        job = GenerateJob(
            out=self.store.out,
            run_id=self.summary.run_id,
            run_seed=self.plan.spec.seed,
            suite=self.plan.spec.suite,
            dataset_fingerprint=self.entry.fingerprint,
            label=model.label,
            model_key=model.key,
            device=self.plan.device,
            exchange=self.store.exchange,
        )
        build = partial(GenerateStage, job, self.entry.module, model.model)
        failed = self._run_stage(f"generate · {model.label}", count, build, todo)
        if failed:
            text = f"{len(failed)} of {count} pictures could not be made ({_first(failed)})."
            self._say(f"{model.label} on {self.entry.title}: {text}", problem=True)

    def _score(self, label: str, items: Sequence[Pending]) -> None:
        needed = set().union(*(item.metrics for item in items))
        ready = [name for name in self.entry.metrics if name in needed and self._use(name)]
        items = [item for item in items if item.metrics & set(ready)]
        batches = [items[i : i + SCORE_BATCH] for i in range(0, len(items), SCORE_BATCH)]
        build = partial(
            ScoreStage,
            self.store.out,
            self.summary.run_id,
            self.entry.module,
            self.metrics,
            ready,
            self.store.exchange,
        )
        failed = self._run_stage(f"score · {label}", len(items), build, batches)
        self.unscored[label] = {self.entry.metrics[n].info.name: why for n, why in failed.items()}
        if failed:
            text = f"not everything could be scored ({_first(failed)})."
            self._say(f"{label} on {self.entry.title}: {text}", problem=True)

    def _use(self, name: str) -> Metric | None:
        """A metric that is set up; None (and one note) when that is impossible."""
        known = len(self.metrics.broken)
        metric = self.metrics.use(name)
        if len(self.metrics.broken) > known:
            text = f"{name} on {self.entry.title}: failed, {self.metrics.why_not(name)}"
            self._say(text, problem=True)
        return metric

    def _aggregate(
        self,
        lookup: Lookup,
        refusals: Mapping[str, Refusal | None],
        lengths: Mapping[str, int],
    ) -> None:
        models = self.plan.models
        results = {m.label: lookup.results(m, refusals[m.label]) for m in models}
        rows = aggregate_task(
            TaskResults(
                run_id=self.summary.run_id,
                suite=self.plan.spec.suite,
                task=str(self.entry.task),
                dataset=self.entry.module.dataset,
                length=self.entry.length,
                samples=lookup.samples,
                infos=self.entry.infos,
                reducers=self._reducers(),
                broken=self.metrics.broken,
                unscored=self.unscored,
                slice_lengths=lengths,
                results=list(results.values()),
                references=self._references(lookup, results),
            )
        )
        self.store.write_aggregates(rows)
        self.summary.aggregates.extend(rows)

    def _reducers(self) -> dict[str, SetMetric]:
        found: dict[str, SetMetric] = {}
        for name, metric in self.entry.metrics.items():
            if metric.info.set_level and (usable := self._use(name)):
                found[metric.info.name] = cast(SetMetric, usable)
        return found

    def _references(
        self, lookup: Lookup, results: Mapping[str, ModelResults]
    ) -> dict[str, ModelResults]:
        """Floor and ceiling rows: of this run, or else what an earlier one left."""
        floors = {info.gap for info in self.entry.infos} - {"none"}
        labels = sorted(floors | {model.ceiling for model in self.plan.models})
        found = {label: results[label] for label in labels if label in results}
        for model in build_models([parse_label(label) for label in labels if label not in found]):
            if model.model is not None and (result := lookup.reference(model)):
                found[model.label] = result
        return found

    def _run_stage(
        self,
        title: str,
        total: int,
        build: Callable[[], Callable[[Any], Tally]],
        batches: Sequence[Any],
    ) -> dict[str, str]:
        """Run a stage over its batches and take in what it wrote; returns what failed, with reasons."""
        failed: dict[str, str] = {}
        if not batches:
            return failed
        with self.reporter.stage(f"{self.entry.title} · {title}", total) as advance:
            for tally in self.engine.map(build, batches):
                failed |= tally.reasons
                if tally.remark:
                    self._say(f"{title} on {self.entry.task}: {tally.remark}", problem=False)
                advance(tally.done)
        self.store.ingest()
        return failed

    def _say(self, text: str, *, problem: bool) -> None:
        if problem:
            self.summary.problems.append(text)
        self.reporter.note(text)


def _first(failed: Mapping[str, str]) -> str:
    name, reason = next(iter(failed.items()))
    return f"{name}: {reason}"
