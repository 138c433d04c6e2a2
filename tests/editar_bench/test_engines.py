"""The local engine keeps the order, and reads ahead where a stage allows it."""

from __future__ import annotations

import threading

import pytest

from editar_bench.engines.local import LocalEngine


def test_a_plain_stage_is_built_once_and_only_for_work() -> None:
    built = []

    def stage():
        built.append(1)
        return lambda batch: batch * 10

    assert list(LocalEngine().map(stage, [])) == [] and not built
    assert list(LocalEngine().map(stage, [1, 2, 3])) == [10, 20, 30] and built == [1]


class Reading:
    """Works on a batch only once the next one is being read."""

    def __init__(self, last: int) -> None:
        self.last, self.began = last, [threading.Event() for _ in range(last + 1)]

    def __call__(self, batch: int) -> int:
        return self.work(batch, self.read(batch))

    def read(self, batch: int) -> int:
        self.began[batch].set()
        if batch == 7:
            raise OSError("the picture is gone")
        return batch * 10

    def work(self, batch: int, read: int) -> int:
        assert self.began[min(batch + 1, self.last)].wait(5)
        return read + batch


def test_the_next_batch_is_read_while_one_is_worked_on() -> None:
    assert list(LocalEngine().map(lambda: Reading(3), range(4))) == [0, 11, 22, 33]


def test_what_cannot_be_read_is_raised_in_its_turn() -> None:
    found = LocalEngine().map(lambda: Reading(8), range(6, 9))
    assert next(found) == 66
    with pytest.raises(OSError, match="gone"):
        next(found)
