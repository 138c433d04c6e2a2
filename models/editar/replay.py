"""The thin shell around a pass on a GPU: capture it once as a CUDA graph, replay it, and look now and then.

The device never waits for the host: what is read of it, is read a few passes later. The passes that were begun in the
meantime change nothing any more.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

LAG = 2  # passes; the host begins one in a fiftieth of the time that a GPU takes
_WARM_UP = 3  # runs before the capture, in which libraries choose kernels and take memory


def captured(once: Callable[[], None]) -> Callable[[], None]:
    """A function of no arguments that reads and writes tensors which stay where they are, as one launch."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UP):
            once()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):  # torch's own is of the first GPU that captured
        once()
    replay: Callable[[], None] = graph.replay
    return replay


def repeat_until(once: Callable[[], None], number: Tensor, enough: int) -> int:
    """Repeat a pass until the number that it leaves on the device is large enough; how many passes that took."""
    watch = _Watch(number)
    passes = 0
    while True:
        once()
        passes += 1
        watch.note()
        seen = watch.earlier()
        if seen is not None and seen >= enough:
            return passes


class _Watch:
    """Copies of a number, each read LAG notes after it was taken."""

    def __init__(self, number: Tensor) -> None:
        self.number = number
        on_gpu = number.is_cuda
        self.copies = [torch.empty_like(number, device="cpu") for _ in range(LAG + 1)]
        if on_gpu:
            self.copies = [copy.pin_memory() for copy in self.copies]
        self.events = [torch.cuda.Event() for _ in self.copies] if on_gpu else []
        self.count = 0

    def note(self) -> None:
        """Begin to copy the number."""
        place = self.count % len(self.copies)
        self.copies[place].copy_(self.number, non_blocking=True)
        if self.events:
            self.events[place].record()
        self.count += 1

    def earlier(self) -> int | None:
        """The number of LAG notes ago; None while there is none."""
        if self.count <= LAG:
            return None
        place = (self.count - 1 - LAG) % len(self.copies)
        if self.events:
            self.events[place].synchronize()
        return int(self.copies[place])
