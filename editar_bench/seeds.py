"""The seed of a picture, and the fixed index ranges that pictures are made in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator


def seed_of(run_seed: int, task: str, dataset: str, sample_id: str, repeat: int) -> int:
    """63 bits from everything that names a picture, and from nothing else (not batch, rank or restart)."""
    key = "\x1f".join((str(run_seed), task, dataset, sample_id, str(repeat)))
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 1


def index_ranges(length: int, size: int, limit: int | None = None) -> Iterator[list[int]]:
    """Index ranges of the full list that touch its first `limit` entries.

    The ranges do not depend on the limit, and the last one is filled up by repeating its own indices, so that every
    batch has `size` entries: a picture is made in the same company by a short run and by a long one. Of a list shorter
    than `size` everything is one batch.
    """
    size = max(1, min(size, length))
    wanted = length if limit is None else min(limit, length)
    for start in range(0, wanted, size):
        indices = list(range(start, min(start + size, length)))
        yield [indices[i % len(indices)] for i in range(size)]
