"""Worker processes on all cores that hand results back in order, a few of them ahead."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from editar_bench.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 8  # items a worker: enough to keep it busy while the caller writes


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0))


def in_order(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int | None = None,
    start: Callable[[], None] | None = None,
) -> Iterator[Result]:
    """`function` of each item, in the order of the items.

    Args:
        function: of a module, so that workers can import it.
        items: small things; each goes to a worker.
        workers: processes; one a core by default.
        start: what a worker does first.

    Raises:
        UserError: a worker was killed, as the machine does when memory runs out.
    """
    if not items:
        return
    count = workers or cores()
    # Forked from a server that has no threads: forking this process could deadlock.
    context = multiprocessing.get_context("forkserver")
    module = getattr(function, "func", function).__module__  # of a partial, its function's
    context.set_forkserver_preload([module])
    with ProcessPoolExecutor(count, mp_context=context, initializer=start) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > AHEAD * count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise UserError(
                "A worker process was killed, probably for lack of memory; what was done is kept, "
                "the same command goes on from there."
            ) from error
        finally:
            for future in waiting:
                future.cancel()
