"""What the store already has for one task of a run: the questions the driver asks before and after the stages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from editar_bench.pictures import PICTURES, is_whole, picture_path
from editar_bench.plan import ModelEntry, TaskEntry
from editar_bench.seeds import index_ranges, seed_of
from editar_bench.stages.aggregate import ModelResults
from editar_bench.stages.generate import Batch
from editar_bench.stages.samples import Sample
from editar_bench.stages.score import Pending
from editar_bench.store import OutputKey, Store
from editar_bench.types import RunSpec

# Reference rows of earlier runs serve as floor and ceiling when a run leaves them out: those that the present code
# would make again (same weights, same data), whatever the run's seed; the newest picture counts.
_REFERENCE = """
    SELECT * FROM output WHERE model_key = ? AND task = ? AND dataset = ? AND dataset_fingerprint = ?
    AND status = 'ok' AND kind = 'reference' AND repeat = 0
    QUALIFY row_number() OVER (PARTITION BY sample_id ORDER BY created_at DESC) = 1
"""
_FAILED = """
    SELECT sample_id, repeat, seed, any_value(reason) AS reason FROM output
    WHERE model_key = ? AND task = ? AND dataset = ? AND dataset_fingerprint = ? AND status = 'failed'
    GROUP BY ALL ORDER BY ALL
"""


@dataclass(frozen=True, slots=True)
class Lookup:
    """One task of a run as the store sees it."""

    store: Store
    spec: RunSpec
    entry: TaskEntry
    samples: Sequence[Sample]

    def missing_batches(self, model: ModelEntry, size: int) -> list[Batch]:
        """Whole batches in which at least one picture is not stored, or was and is lost while a metric lacks it."""
        known = self.known(model)
        lost = {row["output_id"] for row in known.values() if not self._is_there(row)}
        if lost:
            lost &= {item.output_id for item in self.pending(model)}
            known = {k: row for k, row in known.items() if row["output_id"] not in lost}
        found = []
        for repeat in range(self.spec.repeats):
            for indices in index_ranges(self.entry.length, size, self.entry.wanted):
                wanted = frozenset(
                    index
                    for index in indices
                    if index < self.entry.wanted
                    and self.output_key(self.samples[index], repeat) not in known
                )
                if wanted:
                    found.append(Batch(indices=indices, wanted=wanted, repeat=repeat))
        return found

    def pending(self, model: ModelEntry) -> list[Pending]:
        """Stored pictures that some metric of the task has not seen in its present version."""
        seen = set(self.store.known_scores(*self._place(model)))
        seen |= self.store.known_observations(*self._place(model))
        found = []
        for index, _, row in self.outputs(model):
            lacking = frozenset(
                name
                for name, metric in self.entry.metrics.items()
                if (row["output_id"], metric.info.name, metric.info.protocol, metric.info.version)
                not in seen
            )
            if lacking:
                found.append(
                    Pending(
                        output_id=row["output_id"],
                        index=index,
                        picture_hash=row["picture_hash"],
                        metrics=lacking,
                    )
                )
        return found

    def outputs(self, model: ModelEntry) -> Iterator[tuple[int, Sample, dict[str, Any]]]:
        """The stored pictures of this run: index of the sample, the sample, the output row."""
        known = self.known(model)
        for repeat in range(self.spec.repeats):
            for index, sample in enumerate(self.samples):
                row = known.get(self.output_key(sample, repeat))
                if row is not None:
                    yield index, sample, row

    def results(self, model: ModelEntry, refusal: tuple[str, str] | None) -> ModelResults:
        """Everything stored of a model for this run."""
        if model.model is None or refusal is not None:
            return ModelResults(model=model, refusal=refusal)
        grouped: dict[str, list[dict[str, Any]]] = {}
        for _, sample, row in self.outputs(model):
            grouped.setdefault(sample.id, []).append(row)
        return self._results(model, grouped)

    def reference(self, model: ModelEntry) -> ModelResults | None:
        """A reference row that some earlier run left in the store; None when there is none that fits."""
        wanted = {sample.id for sample in self.samples}
        grouped: dict[str, list[dict[str, Any]]] = {}
        for row in self.store.query(_REFERENCE, self._place(model)):
            if row["sample_id"] in wanted:
                grouped.setdefault(row["sample_id"], []).append(row)
        if not grouped:
            return None
        return self._results(model, grouped)

    def known(self, model: ModelEntry) -> Mapping[OutputKey, dict[str, Any]]:
        """Pictures of this model that need not be made again."""
        return self.store.known_outputs(*self._place(model))

    def output_key(self, sample: Sample, repeat: int) -> OutputKey:
        """What a picture is known by, next to its model."""
        seed = seed_of(
            self.spec.seed, self.entry.task, self.entry.module.dataset, sample.id, repeat
        )
        return sample.id, repeat, seed

    def _is_there(self, row: Mapping[str, Any]) -> bool:
        return is_whole(picture_path(self.store.out / PICTURES, row["picture_hash"]))

    def _place(self, model: ModelEntry) -> tuple[str, str, str, str]:
        return (model.key, str(self.entry.task), self.entry.module.dataset, self.entry.fingerprint)

    def _results(
        self, model: ModelEntry, grouped: Mapping[str, list[dict[str, Any]]]
    ) -> ModelResults:
        ids = [row["output_id"] for rows in grouped.values() for row in rows]
        infos = [m.info for m in self.entry.metrics.values() if m.info.set_level]
        return ModelResults(
            model=model,
            outputs=grouped,
            scores=self.store.known_scores(*self._place(model)),
            arrays={
                i.name: self.store.observations(ids, i.name, i.protocol, i.version) for i in infos
            },
            failures=self._failures(model, grouped),
        )

    def _failures(self, model: ModelEntry, grouped: Mapping[str, list[dict[str, Any]]]) -> str:
        made = {(s, row["repeat"]) for s, rows in grouped.items() for row in rows}
        wanted = {
            self.output_key(sample, repeat)
            for sample in self.samples
            for repeat in range(self.spec.repeats)
            if (sample.id, repeat) not in made
        }
        failed = [
            row
            for row in self.store.query(_FAILED, self._place(model))
            if (row["sample_id"], row["repeat"], row["seed"]) in wanted
        ]
        return f"{len(failed)} failed, first: {failed[0]['reason']}" if failed else ""
