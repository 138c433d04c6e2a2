"""The stream of training samples: sampling shares, an order that can be gone back to, and what cannot be used.

The batch of a step is made by a fixed number of lanes, each a stream of its own over all sources. A process serves one
lane or several, so that the batch does not depend on how many processes there are. Nothing is drawn from a generator
that would have to be kept: every draw follows from seed, lane and count. Rows come from `datasets` in a random order of
shards, several at a time, and are shuffled within windows; the place in the stream is where the window starts and how
much of it is taken.
"""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from editar_bench.errors import UserError
from models.training.paper.opening import Opened
from models.training.paper.samples import Sample

if TYPE_CHECKING:
    from datasets import IterableDataset

WINDOW = 128  # rows in memory at a time, of each source in each lane
SHARDS = 4  # of a source, of which one lane reads at a time
_IN_A_ROW = 100  # failures of a source, after which it is no accident
_AHEAD = 3  # micro-batches that are made while the device computes

_DRAW, _ORDER, _SHUFFLE = 1, 2, 3  # what a seed is for

Place = dict[str, Any]  # plain values only: it is part of the checkpoint


class Rows:
    """The rows of one source for one lane, in random order, for ever: each pass over the set in an order of its own."""

    def __init__(self, dataset: IterableDataset, seed: Sequence[int], window: int = WINDOW) -> None:
        self._all, self._seed, self._size = dataset, seed, window
        self._epoch = -1  # nothing read yet
        self._window: list[Mapping[str, Any]] = []
        self._taken = 0

    def __next__(self) -> Mapping[str, Any]:
        if self._epoch < 0:
            self._begin(0)
        while self._taken == len(self._window):
            self._fill()
            if not self._window:
                self._next_pass()
        self._taken += 1
        return self._window[self._taken - 1]

    def place(self) -> Place:
        """Where reading stands."""
        if self._epoch < 0:
            return {}
        window = {"epoch": self._epoch, "window": self._count - 1, "start": self._start}
        return {**window, "taken": self._taken}

    def go_to(self, place: Place) -> None:
        """Go on from a place of the same source, seed and lane."""
        if place:
            self._begin(place["epoch"], place["window"], place["start"])
            self._fill()
            self._taken = place["taken"]

    def _next_pass(self) -> None:
        if self._count == 1:
            raise UserError("train: a source has no rows at all; fetch it again")
        self._begin(self._epoch + 1)

    def _begin(self, epoch: int, window: int = 0, start: list[Place] | None = None) -> None:
        """Stand before a window of a pass; `start` is what `datasets` says of that place, None for the first one."""
        order = integer(_ORDER, *self._seed, epoch)
        # A buffer of one row: the order of shards is drawn, rows are shuffled here, where their place can be kept.
        rows = self._all.shuffle(seed=order, buffer_size=1, max_buffer_input_shards=1)
        count = min(SHARDS, rows.num_shards)
        self._parts = [rows.shard(count, i) for i in range(count)]
        if start is not None:
            if len(start) != len(self._parts):
                raise UserError(
                    f"train: a source is read in {len(self._parts)} parts and was in {len(start)} when the checkpoint "
                    "was made; give it the same files again, or delete the checkpoint"
                )
            for part, place in zip(self._parts, start, strict=True):
                part.load_state_dict(place)
        self._iterators = [iter(part) for part in self._parts]
        self._epoch, self._count, self._next = epoch, window, start

    def _fill(self) -> None:
        self._start = self._next
        of_each = -(-self._size // len(self._iterators))
        rows = [row for iterator in self._iterators for row in islice(iterator, of_each)]
        draw = np.random.default_rng([_SHUFFLE, *self._seed, self._epoch, self._count])
        self._window = [rows[i] for i in draw.permutation(len(rows))]
        self._next = [part.state_dict() for part in self._parts]
        self._count, self._taken = self._count + 1, 0


class Lane:
    """A stream over all sources; what cannot be used is replaced by the next row of the same source, and counted."""

    def __init__(
        self, number: int, sources: Sequence[Opened], seed: int, pool: Executor | None = None
    ) -> None:
        self.number, self.served = number, 0
        self.skipped: Counter[str] = Counter()
        self._sources, self._seed, self._pool = sources, seed, pool
        self._rows = [Rows(s.rows, (seed, number, i)) for i, s in enumerate(sources)]
        self._edges = np.cumsum([s.source.share for s in sources])
        self._edges /= self._edges[-1]

    def batch(self, size: int) -> list[Sample]:
        """The next samples, in the order in which they were drawn."""
        draws = [self._draw() for _ in range(size)]
        each = map if self._pool is None else self._pool.map
        made = list(each(self._made, draws))
        return [self._usable(*pair) for pair in zip(draws, made, strict=True)]

    def place(self) -> Place:
        """Where the lane stands."""
        rows = [rows.place() for rows in self._rows]
        return {"served": self.served, "skipped": dict(self.skipped), "rows": rows}

    def go_to(self, place: Place) -> None:
        """Go on from a place of the same lane."""
        self.served, self.skipped = place["served"], Counter(place["skipped"])
        for rows, where in zip(self._rows, place["rows"], strict=True):
            rows.go_to(where)

    def _draw(self) -> _Draw:
        random = np.random.default_rng([_DRAW, self._seed, self.number, self.served])
        self.served += 1
        source = int(np.searchsorted(self._edges, random.random(), side="right"))
        way = int(random.integers(self._sources[source].ways))
        return _Draw(source, way, self._row(source))

    def _row(self, source: int) -> Mapping[str, Any]:
        try:
            return next(self._rows[source])
        except UserError:
            raise
        except (
            Exception
        ) as error:  # a damaged shard, the network: every layer below raises its own kinds
            reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            if file := self._sources[source].damaged():
                reason += f", in {file}"
            raise UserError(
                f"train: {self._sources[source].source.name} cannot be read on ({reason}); mend it and run "
                "the same command again, which goes on from the last checkpoint"
            ) from error

    def _made(self, draw: _Draw) -> Sample | UserError:
        return self._sources[draw.source].attempt(draw.row, draw.way)

    def _usable(self, draw: _Draw, made: Sample | UserError) -> Sample:
        source = self._sources[draw.source].source
        for _ in range(_IN_A_ROW):
            if isinstance(made, Sample):
                return made
            if not self.skipped[source.name]:
                print(f"{source.name}: the first skipped sample: {made}", file=sys.stderr)
            self.skipped[source.name] += 1
            made = self._made(_Draw(draw.source, draw.way, self._row(draw.source)))
        raise UserError(
            f"train: {_IN_A_ROW} samples of {source.name} in a row cannot be used; the last one: {made}"
        )


@dataclass(frozen=True, slots=True)
class _Draw:
    source: int
    way: int
    row: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Some samples of one lane: `first` is the number of the first of them, `place` where the lane then stands."""

    samples: list[Sample]
    lane: int
    first: int
    place: Place


class Stream:
    """The micro-batches of some lanes, in turn, made ahead on other threads.

    Args:
        lanes: numbers of those that this process serves.
        sources: opened.
        seed: of all draws.
        size: samples a micro-batch.
        parts: micro-batches that a lane gives to one step.
        threads: that decode pictures.
    """

    def __init__(
        self,
        lanes: Sequence[int],
        sources: Sequence[Opened],
        seed: int,
        size: int,
        parts: int,
        threads: int,
    ) -> None:
        pool = ThreadPoolExecutor(threads, "decoding") if threads > 1 else None
        self._lanes = {number: Lane(number, sources, seed, pool) for number in lanes}
        self._size = size
        self._turns = [number for number in lanes for _ in range(parts)]
        self._turn = 0
        self._reader = ThreadPoolExecutor(1, "reading")  # one: lanes are read in order
        self._ahead: deque[Future[MicroBatch]] = deque()
        self._places = {number: lane.place() for number, lane in self._lanes.items()}

    def __next__(self) -> MicroBatch:
        while len(self._ahead) < _AHEAD:
            self._ahead.append(self._reader.submit(self._make, self._turns[self._turn]))
            self._turn = (self._turn + 1) % len(self._turns)
        batch = self._ahead.popleft().result()
        self._places[batch.lane] = batch.place
        return batch

    def places(self) -> dict[int, Place]:
        """Lane to where it stands after what was handed out, not after what was made ahead."""
        return dict(self._places)

    def go_to(self, places: Mapping[int, Place]) -> None:
        """Begin a step at the places of an earlier call, of which those of other processes' lanes are left alone.

        Raises:
            UserError: a lane is not among them.
        """
        missing = [number for number in self._lanes if number not in places]
        if missing:
            raise UserError(
                f"train: the checkpoint has no lane {missing[0]}; use as many lanes as it was made with"
            )
        for number, lane in self._lanes.items():
            lane.go_to(places[number])
            self._places[number] = lane.place()

    def skipped(self) -> Counter[str]:
        """How many samples of each source could not be used so far."""
        return sum((Counter(p["skipped"]) for p in self._places.values()), Counter())

    def close(self) -> None:
        """Make nothing more."""
        self._reader.shutdown(wait=True, cancel_futures=True)

    def _make(self, number: int) -> MicroBatch:
        lane = self._lanes[number]
        first = lane.served
        samples = lane.batch(self._size)
        return MicroBatch(samples, number, first, lane.place())


def integer(*numbers: int) -> int:
    """A seed that follows from some numbers, the first of which says what it is for."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
