"""Second stage: values. One call scores the stored pictures of one batch with the metrics that still lack them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from editar_bench import parts
from editar_bench.contracts import Metric, SampleMetric, SetMetric, TaskModule
from editar_bench.exchange import HERE, Exchange
from editar_bench.stages.generate import Tally, is_fatal, one_line
from editar_bench.stages.ready import ReadyMetrics
from editar_bench.types import Example, Picture

Read = tuple[list[Example], list[Picture]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A stored picture and the metrics (registry names) that have not seen it."""

    output_id: str
    index: int
    picture_hash: str
    metrics: frozenset[str]


class ScoreStage:
    """Batch of pending pictures in, score and observation rows on disk, tally out.

    `read` decodes a batch, which an engine may do ahead; `work` scores it.

    Args:
        out: the results folder.
        run_id: of the run.
        task: whose pictures are scored.
        metrics: of the task.
        names: of those that score; one that cannot be set up in this process is reported with every batch.
        exchange: where pictures come from and rows go to.
    """

    def __init__(
        self,
        out: Path,
        run_id: str,
        task: TaskModule,
        metrics: ReadyMetrics,
        names: Iterable[str],
        exchange: Exchange = HERE,
    ) -> None:
        self.exchange = exchange
        self.room = exchange.room(out)
        self.run_id = run_id
        self.examples = task.load()
        self.metrics: dict[str, Metric] = {}
        self.broken: dict[str, str] = {}
        for name in names:
            if metric := metrics.use(name):
                self.metrics[name] = metric
            else:
                self.broken[name] = metrics.why_not(name)

    def __call__(self, batch: Sequence[Pending]) -> Tally:
        """Read and score one batch."""
        return self.work(batch, self.read(batch))

    def read(self, batch: Sequence[Pending]) -> Read:
        """The samples and the stored pictures."""
        examples = [self.examples[item.index] for item in batch]
        images = [self.exchange.picture(self.room, item.picture_hash) for item in batch]
        return examples, images

    def work(self, batch: Sequence[Pending], read: Read) -> Tally:
        """Score one batch; a metric that breaks on it is reported and leaves no value."""
        examples, images = read
        scores: list[dict[str, Any]] = []
        observations: list[dict[str, Any]] = []
        reasons = dict(self.broken)
        for name, metric in self.metrics.items():
            todo = [i for i, item in enumerate(batch) if name in item.metrics]
            if not todo:
                continue
            chosen = [examples[i] for i in todo], [images[i] for i in todo]
            ids = [batch[i].output_id for i in todo]
            try:
                rows = self._rows(metric, ids, *chosen)
            except Exception as error:
                if is_fatal(error):
                    raise
                reasons[name] = one_line(error)
                continue
            (observations if metric.info.set_level else scores).extend(rows)
        parts.write_part(self.room, "score", scores)
        parts.write_part(self.room, "observation", observations)
        self.exchange.send(self.room)
        return Tally(done=len(batch), failed=len(reasons), reasons=reasons)

    def _rows(
        self, metric: Metric, ids: Sequence[str], examples: list[Example], images: list[Picture]
    ) -> list[dict[str, Any]]:
        info = metric.info
        if info.set_level:
            observed = cast(SetMetric, metric).observe(examples, images)
            values = [parts.pack_array(array) for array in observed]
        else:
            scored = cast(SampleMetric, metric).score(examples, images)
            values = [{"value": score.value, "reason": score.reason} for score in scored]
        return [
            {
                "output_id": output_id,
                "metric": info.name,
                "protocol": info.protocol,
                "version": info.version,
                "run_id": self.run_id,
                **value,
            }
            for output_id, value in zip(ids, values, strict=True)
        ]
