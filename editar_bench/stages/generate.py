"""First stage: pictures. One call makes one batch, writes its pictures and one Parquet part, and returns a tally."""

from __future__ import annotations

import errno
import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from editar_bench import parts, provenance, store
from editar_bench.contracts import Context, Model, TaskModule
from editar_bench.devices import is_out_of_memory, peak_bytes, release_memory, reset_peak
from editar_bench.errors import UserError, missing_package
from editar_bench.exchange import HERE, Exchange
from editar_bench.pictures import PICTURES, picture_path, write_picture
from editar_bench.seeds import seed_of
from editar_bench.types import Example, Generation


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateJob:
    """One model on one task: everything a worker needs, and everything that is the same in all its rows."""

    out: Path
    run_id: str
    run_seed: int
    suite: str
    dataset_fingerprint: str
    label: str
    model_key: str
    device: str
    exchange: Exchange = HERE


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Sample indices of one full-sized batch; only those in `wanted` are stored."""

    indices: Sequence[int]
    wanted: frozenset[int]
    repeat: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What one call did."""

    done: int
    failed: int = 0
    reasons: Mapping[str, str] = field(default_factory=dict)  # what failed -> why
    remark: str = ""  # one sentence on how it went, if it did not go as planned


def pieces(batch: Batch, size: int) -> list[Batch]:
    """Ranges of `size` indices of a batch, the last one filled up with its own; only those with something wanted."""
    found: list[Batch] = []
    left = set(batch.wanted)
    for start in range(0, len(batch.indices), size):
        own = batch.indices[start : start + size]
        wanted = frozenset(left & set(own))
        if wanted:
            left -= wanted
            indices = [own[i % len(own)] for i in range(size)]
            found.append(Batch(indices=indices, wanted=wanted, repeat=batch.repeat))
    return found


def is_fatal(error: Exception) -> bool:
    """Whether an error concerns the disk and not the sample: going on would fail for every sample."""
    full = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
    return isinstance(error, OSError) and error.errno in full


def one_line(error: Exception) -> str:
    """An exception as a reason that fits a table."""
    text = " ".join(str(error).split())[:300]
    if isinstance(error, UserError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class SetupFailed(Exception):
    """A model could not be loaded; the message says why."""


Made = tuple[Generation | Exception, int]  # a picture or why there is none; the batch size


class GenerateStage:
    """Batch of indices in, pictures and output rows on disk, tally out.

    A batch that does not fit into memory is halved, and so are all later ones.
    """

    def __init__(self, job: GenerateJob, task: TaskModule, model: Model) -> None:
        self.job = job
        self.room = job.exchange.room(job.out)
        self.task = task
        self.model = model
        self.examples = task.load()
        try:
            model.setup(Context(device=job.device, examples=self.examples))
        except ModuleNotFoundError as error:
            raise SetupFailed(missing_package(f"'{model.name}'", error)) from error
        except Exception as error:
            raise SetupFailed(one_line(error)) from error
        self.machine = provenance.machine(job.device)  # of this worker, not of the driver
        self.most: int | None = None  # pictures a batch, once memory has run out

    def __call__(self, batch: Batch) -> Tally:
        """Make the whole batch, store what is wanted of it."""
        examples = {index: self.examples[index] for index in set(batch.indices)}
        before = self.most
        made = self._make_all(batch, examples)
        rows = [
            self._row(examples[index], batch, result)
            for index, result in made.items()
            if index in batch.wanted
        ]
        parts.write_part(self.room, "output", rows)
        self.job.exchange.send(self.room)
        reasons = {row["sample_id"]: row["reason"] for row in rows if row["status"] == "failed"}
        remark = ""
        if self.most != before:
            remark = f"memory ran out with {before or len(batch.indices)} pictures a batch; {self.most} from here on"
        return Tally(done=len(rows), failed=len(reasons), reasons=reasons, remark=remark)

    def _make_all(self, batch: Batch, examples: Mapping[int, Example]) -> dict[int, Made]:
        """What became of each index, in pieces as large as memory allows."""
        size = len(batch.indices)
        if self.most is not None and size > self.most:
            return self._make_pieces(batch, examples)
        try:
            made = self._make([examples[i] for i in batch.indices], batch.repeat)
            return {i: (g, size) for i, g in zip(batch.indices, made, strict=True)}
        except Exception as error:
            if is_fatal(error):
                raise
            too_large = size > 1 and is_out_of_memory(error)
        if too_large:  # here nothing refers to the error any more, whose frames hold tensors
            release_memory(self.job.device)
            self.most = size // 2
            return self._make_pieces(batch, examples)
        return self._make_alone(batch, examples)

    def _make_pieces(self, batch: Batch, examples: Mapping[int, Example]) -> dict[int, Made]:
        """The batch in smaller fixed ranges of indices; those in which nothing is wanted are left out."""
        made: dict[int, Made] = {}
        for piece in pieces(batch, self.most or 1):
            made |= self._make_all(piece, examples)
        return made

    def _make_alone(self, batch: Batch, examples: Mapping[int, Example]) -> dict[int, Made]:
        """Somewhere in the batch is a sample that cannot be made: alone, each one answers for itself."""
        alone: dict[int, Made] = {}
        for index in sorted(batch.wanted):
            try:
                alone[index] = (self._make([examples[index]], batch.repeat)[0], 1)
            except Exception as error:
                if is_fatal(error):
                    raise
                alone[index] = (error.with_traceback(None), 1)
        return alone

    def _make(self, examples: Sequence[Example], repeat: int) -> list[Generation]:
        seeds = [self._seed(example, repeat) for example in examples]
        reset_peak(self.job.device)
        made = self.model.generate(examples, seeds)
        peak = peak_bytes(self.job.device)
        if len(made) != len(examples):
            raise ValueError(f"the model returned {len(made)} pictures for {len(examples)} samples")
        for example, generation in zip(examples, made, strict=True):
            _check_cost(generation)
            if generation.image.dtype != np.uint8:
                raise ValueError(
                    f"the model returned a picture of {generation.image.dtype} where uint8 was expected"
                )
            if not self._fits(generation.image.shape, example.condition.shape):
                raise ValueError(
                    f"the model returned a picture of shape {generation.image.shape} "
                    f"where {example.condition.shape} was expected"
                )
        return [
            Generation(
                image=g.image,
                seconds=g.seconds,
                peak_memory_bytes=peak if g.peak_memory_bytes is None else g.peak_memory_bytes,
            )
            for g in made
        ]

    def _fits(self, made: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
        if getattr(self.task, "any_size", False):
            return len(made) == 3 and made[2] == 3 and min(made) > 0
        return made == wanted

    def _seed(self, example: Example, repeat: int) -> int:
        return seed_of(self.job.run_seed, example.task, self.task.dataset, example.id, repeat)

    def _row(self, example: Example, batch: Batch, result: Made) -> dict[str, Any]:
        outcome, batch_size = result
        row: dict[str, Any] = {
            "run_id": self.job.run_id,
            "suite": self.job.suite,
            "task": str(self.task.task),
            "dataset": self.task.dataset,
            "dataset_fingerprint": self.job.dataset_fingerprint,
            "model": self.job.label,
            "model_key": self.job.model_key,
            "kind": self.model.kind,
            "sample_id": example.id,
            "repeat": batch.repeat,
            "seed": self._seed(example, batch.repeat),
            "batch_size": batch_size,
            "device": self.job.device,
            "machine": self.machine,
            "created_at": store.now(),
        }
        if isinstance(outcome, Exception):
            row |= {"status": "failed", "reason": one_line(outcome), "picture_hash": ""}
        else:
            row |= {"status": "ok"} | self._store(outcome)
        row["output_id"] = parts.output_id(
            self.job.model_key,
            str(self.task.task),
            self.task.dataset,
            self.job.dataset_fingerprint,
            example.id,
            batch.repeat,
            row["seed"],
            row["picture_hash"],
        )
        return row

    def _store(self, generation: Generation) -> dict[str, Any]:
        folder = self.room / PICTURES
        with parts.disk_errors(folder):
            name = write_picture(folder, generation.image)
        return {
            "picture_hash": name,
            "path": picture_path(folder, name).relative_to(self.room).as_posix(),
            "seconds": generation.seconds,
            "peak_memory_bytes": generation.peak_memory_bytes,
        }


def _check_cost(generation: Generation) -> None:
    """Refuse times and sizes that no table can hold.

    Raises:
        ValueError: saying what was returned.
    """
    seconds, memory = generation.seconds, generation.peak_memory_bytes
    if not isinstance(seconds, numbers.Real) or not 0 <= float(seconds) < math.inf:
        raise ValueError(f"the model returned {seconds!r} seconds for a picture")
    if memory is not None and not (isinstance(memory, numbers.Integral) and 0 <= memory < 2**63):
        raise ValueError(f"the model returned {memory!r} bytes of memory for a picture")
