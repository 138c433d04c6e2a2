"""The stream: shares, passes, places, and what cannot be used."""

from __future__ import annotations

import json
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from editar_bench.errors import UserError
from models.training.paper import stream as streams
from models.training.paper.opening import Opened
from models.training.paper.samples import Sample
from models.training.paper.stream import Lane, Rows, Stream


def rows(count, shards=3, name=""):
    """A stream of `datasets` over numbered rows in several shards."""
    from datasets import Dataset

    numbers = [{"n": i, "source": name} for i in range(count)]
    return Dataset.from_list(numbers).to_iterable_dataset(num_shards=min(shards, count))


def made(row, way):
    if row["n"] < 0:
        raise UserError("too dark")
    crop = np.full((1, 1, 3), row["n"] % 256, np.uint8)
    return Sample(prompt=f"{row['source']} {row['n']} {way}", crop=crop, pictures=crop[None])


def opened(name, share, count=40, ways=1, data=None):
    source = SimpleNamespace(name=name, share=share)
    return Opened(source=source, rows=data or rows(count, name=name), sample=made, ways=ways)


def prompts(batch):
    return [sample.prompt for sample in batch]


# --- rows ---


def test_each_pass_reads_every_row_once_in_another_order():
    source = Rows(rows(20), (0, 0, 0), window=6)
    passes = [[next(source)["n"] for _ in range(20)] for _ in range(3)]
    assert all(sorted(one) == list(range(20)) for one in passes)
    assert len({tuple(one) for one in passes}) == 3
    assert passes[0] != sorted(passes[0])


def test_lanes_and_seeds_have_orders_of_their_own():
    orders = [
        tuple(next(source)["n"] for _ in range(20))
        for source in (Rows(rows(20), seed, window=6) for seed in ((0, 0, 0), (0, 1, 0), (1, 0, 0)))
    ]
    assert len(set(orders)) == 3


@pytest.mark.parametrize("taken", [0, 1, 5, 6, 7, 19, 20, 21, 47])
def test_reading_goes_on_from_any_place(taken):
    """Within a window, between windows, at the end of a pass, in a later pass."""
    source = Rows(rows(20), (0, 0, 0), window=6)
    for _ in range(taken):
        next(source)
    place = json.loads(json.dumps(source.place()))
    expected = [next(source)["n"] for _ in range(30)]
    again = Rows(rows(20), (0, 0, 0), window=6)
    again.go_to(place)
    assert [next(again)["n"] for _ in range(30)] == expected


def test_a_source_without_rows_is_one_sentence():
    from datasets import IterableDataset

    empty = IterableDataset.from_generator(lambda: iter(()))
    with pytest.raises(UserError, match="no rows at all"):
        next(Rows(empty, (0, 0, 0)))


# --- lanes ---


def test_sources_are_drawn_by_their_shares_and_ways_evenly():
    lane = Lane(0, [opened("a", 0.15), opened("b", 0.25, ways=2), opened("c", 0.60)], seed=0)
    drawn = [p.split() for p in prompts(lane.batch(1500))]
    counts = Counter(name for name, _, _ in drawn)
    assert counts["a"] / 1500 == pytest.approx(0.15, abs=0.03)
    assert counts["b"] / 1500 == pytest.approx(0.25, abs=0.03)
    ways = Counter(way for name, _, way in drawn if name == "b")
    assert ways["0"] / counts["b"] == pytest.approx(0.5, abs=0.08)
    assert {way for name, _, way in drawn if name != "b"} == {"0"}


def test_what_fails_is_replaced_from_the_same_source_and_counted(capsys):
    bad = rows(40, name="a").map(lambda row: row | {"n": -1} if row["n"] % 4 == 0 else row)
    lane = Lane(0, [opened("a", 0.5, data=bad), opened("b", 0.5)], seed=0)
    without = Lane(0, [opened("a", 0.5), opened("b", 0.5)], seed=0)
    batch, whole = prompts(lane.batch(60)), prompts(without.batch(60))
    assert [p.split()[0] for p in batch] == [p.split()[0] for p in whole]
    assert [p for p in batch if p[0] == "b"] == [p for p in whole if p[0] == "b"]
    assert not any(" -1 " in p for p in batch)
    assert lane.skipped["a"] > 3 and lane.skipped["b"] == 0
    assert capsys.readouterr().err == "a: the first skipped sample: too dark\n"
    assert lane.place()["skipped"] == dict(lane.skipped)


def test_a_source_that_always_fails_stops_the_run():
    bad = rows(40).map(lambda row: row | {"n": -1})
    lane = Lane(0, [opened("a", 1.0, data=bad)], seed=0)
    with pytest.raises(UserError, match="100 samples of a in a row cannot be used.*too dark"):
        lane.batch(1)


def test_a_decoder_that_breaks_in_its_own_way_costs_one_sample():
    def breaks(row, way):
        if row["n"] % 2:
            raise IndexError("out of the blue")
        return made(row, way)

    source = SimpleNamespace(name="a", share=1.0, repository="x/a")
    lane = Lane(0, [Opened(source=source, rows=rows(40), sample=breaks, ways=1)], seed=0)
    assert len(lane.batch(10)) == 10 and lane.skipped["a"] > 0


def test_a_shard_that_cannot_be_read_is_one_sentence():
    def torn(row):
        raise OSError("the file is torn")

    lane = Lane(0, [opened("a", 1.0, data=rows(40).map(torn))], seed=0)
    with pytest.raises(UserError, match="a cannot be read on .the file is torn.*last checkpoint"):
        lane.batch(1)


# --- streams ---


SOURCES = [opened("a", 0.4), opened("b", 0.6, ways=2)]


def stream(lanes, size=4, parts=2, threads=2, seed=0):
    return Stream(lanes, SOURCES, seed, size, parts, threads)


def step(one, parts):
    """The samples of a step by lane."""
    found = {}
    for _ in range(parts):
        batch = next(one)
        found.setdefault(batch.lane, []).extend(prompts(batch.samples))
    return found


def test_the_batch_does_not_depend_on_processes_threads_or_micro_batches():
    alone = stream(range(4), threads=1)
    first, second = stream([0, 2], size=8, parts=1), stream([1, 3], threads=3)
    for _ in range(3):
        assert step(alone, 8) == step(first, 2) | step(second, 4)


def test_another_seed_is_another_stream():
    assert step(stream([0]), 2) != step(stream([0], seed=1), 2)


def test_a_stream_goes_on_from_what_was_handed_out_not_from_what_was_made():
    one = stream(range(4))
    for _ in range(2):
        step(one, 8)
    places = one.places()
    expected = [next(one) for _ in range(16)]
    # The other processes' places are there as well, and may be read by fewer or more processes.
    for lanes in (range(4), [1, 3], [2]):
        again = stream(lanes)
        again.go_to(places)
        for wanted in (b for b in expected if b.lane in lanes):
            batch = next(again)
            assert (batch.lane, batch.first) == (wanted.lane, wanted.first)
            assert prompts(batch.samples) == prompts(wanted.samples)


def test_a_checkpoint_of_other_lanes_is_one_sentence():
    places = stream([0, 1]).places()
    with pytest.raises(UserError, match="no lane 2; use as many lanes"):
        stream([0, 2]).go_to(places)


def test_an_error_while_reading_ahead_reaches_the_trainer():
    bad = rows(40).map(lambda row: row | {"n": -1})
    one = Stream([0], [opened("a", 1.0, data=bad)], 0, 4, 1, 2)
    with pytest.raises(UserError, match="in a row"):
        next(one)


def test_skipped_samples_are_counted_over_the_lanes():
    bad = rows(40).map(lambda row: row | {"n": -1} if row["n"] % 2 else row)
    one = Stream([0, 1], [opened("a", 1.0, data=bad)], 0, 4, 1, 1)
    batches = [next(one) for _ in range(2)]
    assert one.skipped()["a"] == sum(b.place["skipped"]["a"] for b in batches) > 0


def test_seeds_for_different_purposes_differ():
    seeds = [streams.integer(p, 0, 0) for p in range(4)] + [streams.integer(0, 0, 0, 1)]
    assert len(set(seeds)) == 5 and all(0 <= s < 2**63 for s in seeds)
