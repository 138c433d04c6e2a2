"""The engine of one machine: the stages, one batch after the other, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

B = TypeVar("B")
R = TypeVar("R")


class LocalEngine:
    """Calls a stage on every batch in order."""

    def map(self, stage: Callable[[], Callable[[B], R]], batches: Iterable[B]) -> Iterator[R]:
        """Build the stage (when there is anything to do) and yield its answer to each batch."""
        call: Callable[[B], R] | None = None
        for batch in batches:
            call = call or stage()
            yield call(batch)
