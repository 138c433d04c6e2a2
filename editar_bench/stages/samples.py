"""What a run knows of its samples without decoding them again, and their rows and pictures in the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from editar_bench import parts
from editar_bench.pictures import PICTURES, picture_path, write_picture
from editar_bench.plan import TaskEntry
from editar_bench.store import Store
from editar_bench.types import Example, Picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A sample by name; `slices` are all groups it is reported in, its category included."""

    id: str
    slices: tuple[str, ...]


def groups_of(category: str, slices: Iterable[str]) -> tuple[str, ...]:
    """All groups that a sample is reported in."""
    return tuple(filter(None, dict.fromkeys((category, *slices))))


def slice_lengths(entry: TaskEntry, samples: Sequence[Sample]) -> Counter[str]:
    """How many samples of the whole split each slice has, whatever part of the split `samples` are.

    Data that can (`groups()`) tell it without decoding pictures.
    """
    if len(samples) == entry.length:
        groups = [sample.slices for sample in samples]
    else:
        examples = entry.module.load()
        if hasattr(examples, "groups"):
            groups = [groups_of(*of_sample) for of_sample in examples.groups()]
        else:
            every = (examples[i] for i in range(entry.length))
            groups = [groups_of(e.category, e.slices) for e in every]
    return Counter(name for names in groups for name in names)


def record_samples(
    store: Store, suite: str, entry: TaskEntry, advance: Callable[[int], None]
) -> list[Sample]:
    """Read the wanted samples once; store the rows and pictures of those that the store does not show yet."""
    known = {
        row["sample_id"]
        for row in store.query(
            "SELECT sample_id FROM sample WHERE task = ? AND dataset = ? AND dataset_fingerprint = ?",
            [str(entry.task), entry.module.dataset, entry.fingerprint],
        )
    }
    examples = entry.module.load()
    samples, rows = [], []
    for position in range(entry.wanted):
        example = examples[position]
        samples.append(Sample(id=example.id, slices=groups_of(example.category, example.slices)))
        if example.id not in known:
            rows.append(_row(store, suite, entry, position, example))
        advance(1)
    store.write_part("sample", rows)
    store.ingest()
    return samples


def _row(
    store: Store, suite: str, entry: TaskEntry, position: int, example: Example
) -> dict[str, Any]:
    return {
        "task": str(entry.task),
        "dataset": entry.module.dataset,
        "dataset_fingerprint": entry.fingerprint,
        "sample_id": example.id,
        "suite": suite,
        "position": position,
        "prompt": example.prompt,
        "source_caption": example.source_caption,
        "target_caption": example.target_caption,
        "category": example.category,
        "slices": list(example.slices),
        "condition_path": _store_picture(store, example.condition),
        "target_path": None if example.target is None else _store_picture(store, example.target),
    }


def _store_picture(store: Store, picture: Picture) -> str:
    folder = store.out / PICTURES
    with parts.disk_errors(folder):
        name = write_picture(folder, picture)
    return picture_path(folder, name).relative_to(store.out).as_posix()
