"""The engine of one machine: the stages, one batch after the other, in this process.

A stage may read ahead: where it has `read(batch)`, a thread reads the next batch while the stage works on this one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any

from editar_bench.engines import B, R


class LocalEngine:
    """Calls a stage on every batch in order."""

    def map(self, stage: Callable[[], Callable[[B], R]], batches: Iterable[B]) -> Iterator[R]:
        """Build the stage (when there is anything to do) and yield its answer to each batch.

        Args:
            stage: builds it. One that reads ahead offers `read(batch)` and `work(batch, read)`, which one after the
                other are its call.
            batches: what it is called with.
        """
        todo = iter(batches)
        for first in todo:
            call = stage()
            every = chain([first], todo)
            yield from _read_ahead(call, every) if hasattr(call, "read") else map(call, every)


def _read_ahead(stage: Any, batches: Iterator[B]) -> Iterator[Any]:
    with ThreadPoolExecutor(1) as reader:
        batch = next(batches, None)
        coming = reader.submit(stage.read, batch)
        while batch is not None:
            read = coming.result()
            following = next(batches, None)
            if following is not None:
                coming = reader.submit(stage.read, following)
            yield stage.work(batch, read)
            batch = following
