"""What a picture costs. These two metrics read the output rows, not the pictures, so the runner fills them itself.

A run may go on where another machine began. Its cost is then that of the place which made most of the pictures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Place:
    """Where and how pictures were made: seconds and memory of two places have no common mean."""

    machine: str
    device: str
    batch_size: int

    def __str__(self) -> str:
        return f"on {self.machine} ({self.device}), batches of {self.batch_size}"


def place_of(output: Mapping[str, Any]) -> Place:
    """The place of an output row; rows older than the column `machine` are known by their run."""
    machine = output["machine"] or f"the machine of run {output['run_id']}"
    return Place(machine, output["device"], output["batch_size"])


def main_place(outputs: Iterable[Mapping[str, Any]]) -> tuple[Place, int] | None:
    """The place of most of the pictures that cost something, the newest of equals, and how many others there are."""
    newest: dict[Place, Any] = {}
    counts: Counter[Place] = Counter()
    for output in outputs:
        if _is_free(output):
            continue
        place = place_of(output)
        counts[place] += 1
        newest[place] = max(newest.get(place, output["created_at"]), output["created_at"])
    if not counts:
        return None
    chosen = max(counts, key=lambda place: (counts[place], newest[place]))
    return chosen, counts.total() - counts[chosen]


def _is_free(output: Mapping[str, Any]) -> bool:
    """Reference rows and finished pictures cost nothing."""
    return output["kind"] == "reference" or not output["seconds"]


def cost_value(info: MetricInfo, output: Mapping[str, Any]) -> float | None:
    """The metric's value of one output row; None for what costs nothing or was not measured."""
    if _is_free(output):
        return None
    if info.name == SECONDS.name:
        return float(output["seconds"])
    memory = output["peak_memory_bytes"]
    return None if memory is None else float(memory) / 2**20
