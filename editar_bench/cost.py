"""What a picture costs. These two metrics read the output rows, not the pictures, so the runner fills them itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from editar_bench.contracts import MetricInfo
from editar_bench.types import Task

SECONDS = MetricInfo(
    name="seconds_per_image",
    protocol="cost.wall-batch.v1",
    unit="s",
    direction="lower",
    version=1,
    tasks=frozenset(Task),
    description="wall time of a batch after loading, divided by the pictures in it",
)
MEMORY = MetricInfo(
    name="peak_memory",
    protocol="cost.peak-memory.v1",
    unit="MiB",
    direction="lower",
    version=1,
    tasks=frozenset(Task),
    description="peak during a batch: of the GPU, on a CPU of the whole process",
)
COST = (SECONDS, MEMORY)


def cost_value(info: MetricInfo, output: Mapping[str, Any]) -> float | None:
    """The metric's value of one output row; None for reference rows and finished pictures, which cost nothing."""
    if output["kind"] == "reference" or not output["seconds"]:
        return None
    if info.name == SECONDS.name:
        return float(output["seconds"])
    memory = output["peak_memory_bytes"]
    return None if memory is None else float(memory) / 2**20
