"""The records a driver hands to the store."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from editar_bench.contracts import MetricInfo

OutputKey = tuple[str, int, int]  # sample id, repeat, seed
ScoreKey = tuple[str, str, str, int]  # output id, metric, protocol, metric version


def now() -> datetime:
    """The present time in UTC, without a zone, as every time in the store."""
    return datetime.now(UTC).replace(tzinfo=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """What is known of a run when it begins. `spec` and `provenance` hold JSON values only."""

    suite: str
    dataset: str
    spec: Mapping[str, Any]
    provenance: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate:
    """One number of one run; `slice` is "" for the whole split.

    `n` counts the values averaged, `n_undefined` the scored samples where the metric has no value,
    `n_expected` the size of the whole split (or slice). The views call a row partial when samples
    are missing from n + n_undefined. A pair that a model cannot do has the status "unsupported" and
    the reason.
    """

    run_id: str
    suite: str
    task: str
    dataset: str
    model: str
    metric: str
    protocol: str
    version: int
    model_key: str
    kind: Literal["measured", "reference"]
    higher_is_better: bool
    n_expected: int
    value: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    n: int = 0
    n_undefined: int = 0
    slice: str = ""
    status: Literal["ok", "unsupported", "failed"] = "ok"
    reason: str = ""
    gap_closed: float | None = None
    gap_low: float | None = None
    gap_high: float | None = None
    gap_reason: str = ""  # why there is no gap_closed, where the metric has one

    def finite(self) -> Aggregate:
        """The same with NaN and infinite values made None."""
        return replace(
            self,
            value=_finite(self.value),
            ci_low=_finite(self.ci_low),
            ci_high=_finite(self.ci_high),
            gap_closed=_finite(self.gap_closed),
            gap_low=_finite(self.gap_low),
            gap_high=_finite(self.gap_high),
        )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def metric_row(info: MetricInfo) -> dict[str, Any]:
    """The row of the table `metric`."""
    return {
        "metric": info.name,
        "protocol": info.protocol,
        "version": info.version,
        "unit": info.unit,
        "higher_is_better": info.direction == "higher",
        "tasks": sorted(str(task) for task in info.tasks),
        "gap": info.gap,
        "set_level": info.set_level,
        "description": info.description,
    }
