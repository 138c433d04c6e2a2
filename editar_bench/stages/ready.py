"""The metrics of a task, each set up once in every process that uses it."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from pathlib import Path
from typing import Any

from editar_bench.contracts import Metric
from editar_bench.evaluators.feature_files import FOLDER
from editar_bench.exchange import HERE, Exchange
from editar_bench.stages.generate import one_line


class ReadyMetrics:
    """Metrics that are set up when first used.

    Sent to another process they go as they were before and are set up again there: networks stay where they are.

    Args:
        metrics: by registry name.
        device: that they are set up on.
        out: the results folder, beside which features are kept.
        exchange: says what stands in for that folder in another process.
    """

    def __init__(
        self,
        metrics: Mapping[str, Metric],
        device: str,
        out: Path,
        exchange: Exchange = HERE,
    ) -> None:
        self.broken: dict[str, str] = {}  # metric -> why it cannot be used
        self._metrics = dict(metrics)
        self._untouched = {name: copy(metric) for name, metric in metrics.items()}
        self._device = device
        self._out = out
        self._exchange = exchange
        self._ready: set[str] = set()

    def __reduce__(self) -> tuple[type[ReadyMetrics], tuple[Any, ...]]:
        return ReadyMetrics, (self._untouched, self._device, self._out, self._exchange)

    def use(self, name: str) -> Metric | None:
        """A metric that is set up; None when that is impossible, `broken` says why."""
        metric = self._metrics[name]
        if name not in self._ready and metric.info.name not in self.broken:
            try:
                if hasattr(metric, "keep_features"):
                    metric.keep_features(self._exchange.room(self._out) / FOLDER)
                metric.setup(self._device)
                self._ready.add(name)
            except Exception as error:
                self.broken[metric.info.name] = one_line(error)
        return metric if name in self._ready else None

    def why_not(self, name: str) -> str:
        """Why `use` gave None."""
        return self.broken[self._metrics[name].info.name]
