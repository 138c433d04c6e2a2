"""The feature store: what an extractor says about a picture is computed once.

Keys are (content hash, extractor fingerprint), so that metrics, models and runs share the values. They are kept in
memory up to a limit and, where a folder is given, on disk: what is small, and what will be asked for again.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from editar_bench.evaluators.feature_files import FeatureFiles, Features
from editar_bench.pictures import picture_hash

if TYPE_CHECKING:
    from torch import Tensor

Item = TypeVar("Item")
MEMORY_LIMIT = 512 * 2**20  # bytes of arrays kept in memory
CHUNK = 32  # items given to an extractor at once
SMALL = 64 * 2**10  # bytes of a record that costs nothing to keep: embeddings are, maps are not


class FeatureStore:
    """Least recently used features leave memory first; files on disk stay."""

    def __init__(self, folder: Path | None = None, limit: int = MEMORY_LIMIT) -> None:
        self.files = None if folder is None else FeatureFiles(folder)
        self.limit = limit
        self._kept: OrderedDict[tuple[str, str], Features] = OrderedDict()
        self._bytes = 0

    def get(
        self,
        items: Sequence[Item],
        extractor: str,
        compute: Callable[[Sequence[Item]], Sequence[Features]],
        *,
        again: bool = False,
    ) -> list[Features]:
        """Features of each item (uint8 pictures or texts), in order.

        Args:
            items: what to describe; equal items are computed once.
            extractor: fingerprint of `compute`, its weights included.
            compute: from a list of items to one record of arrays each.
            again: other models and runs will ask for these items too, as for the sources of edits: their features go
                to disk whatever their size.
        """
        hashes = [content_hash(item) for item in items]
        wanted = dict(zip(hashes, items, strict=True))
        found = {h: f for h in wanted if (f := self._find((h, extractor))) is not None}
        missing = [h for h in wanted if h not in found]
        for start in range(0, len(missing), CHUNK):
            chunk = missing[start : start + CHUNK]
            made = compute([wanted[h] for h in chunk])
            for name, features in zip(chunk, made, strict=True):
                found[name] = features
                self._keep((name, extractor), features)
                if self.files is not None and (again or _size(features) <= SMALL):
                    self.files.write(name, extractor, features)
        return [found[h] for h in hashes]

    def clear(self) -> None:
        """Forget what is in memory; files on disk stay."""
        self._kept.clear()
        self._bytes = 0

    def _find(self, key: tuple[str, str]) -> Features | None:
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        features = None if self.files is None else self.files.read(*key)
        if features is not None:
            self._keep(key, features)
        return features

    def _keep(self, key: tuple[str, str], features: Features) -> None:
        self._kept[key] = features
        self._bytes += _size(features)
        while self._bytes > self.limit and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= _size(dropped)


def per_item(batch: dict[str, Tensor]) -> list[Features]:
    """Tensors with a batch axis to one record of arrays per item."""
    arrays = {name: tensor.cpu().numpy() for name, tensor in batch.items()}
    count = len(next(iter(arrays.values())))
    return [{name: array[i].copy() for name, array in arrays.items()} for i in range(count)]


def content_hash(item: Any) -> str:
    """sha256 of a picture's shape and pixels, or of a text."""
    if isinstance(item, str):
        return hashlib.sha256(item.encode()).hexdigest()
    return picture_hash(item)


def _size(features: Features) -> int:
    return sum(array.nbytes for array in features.values())
