"""Features on disk: a file a picture and extractor, which any process may write and all may read.

A file is a checksum and then safetensors. It appears whole or not at all; one that is damaged counts as absent, and a
disk that takes no more ends the keeping, never the scoring. The folder may be deleted at any time.
"""

from __future__ import annotations

import logging
import os
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from editar_bench.files import written_aside

Features = dict[str, NDArray[Any]]  # of one item, by name
LIMIT = (
    16 * 2**30
)  # bytes: PIE-Bench's sources need 7 GiB with all variants of its structure distance
FOLDER = "features"  # beside the results
_SUM_BYTES = 4
_log = logging.getLogger(__name__)


class FeatureFiles:
    """The features under one folder.

    Args:
        folder: made when there is something to keep.
        limit: bytes; what would go beyond is not kept.
    """

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self.folder = folder
        self.limit = limit
        self._free: int | None = None  # bytes; counted before the first file is written

    def read(self, content: str, extractor: str) -> Features | None:
        """What is kept of an item, by its content hash; None where nothing whole is."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        path = self._path(content, extractor)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            _log.warning("The kept features %s cannot be read (%s).", path, error.strerror or error)
            return None
        try:
            if zlib.crc32(data[_SUM_BYTES:]).to_bytes(_SUM_BYTES, "little") == data[:_SUM_BYTES]:
                return dict(load(data[_SUM_BYTES:]))
        except SafetensorError:
            pass
        _log.warning("The kept features %s are damaged and are computed again.", path)
        return None

    def write(self, content: str, extractor: str, features: Features) -> None:
        """Keep the features of an item, unless the folder is full."""
        from safetensors.numpy import save

        packed = save({name: np.asarray(array, order="C") for name, array in features.items()})
        data = zlib.crc32(packed).to_bytes(_SUM_BYTES, "little") + packed
        if not self._has_room(len(data)):
            return
        path = self._path(content, extractor)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with written_aside(path) as aside:
                aside.write_bytes(data)
        except OSError as error:
            self._free = 0
            _log.warning(
                "No more features are kept in %s (%s); numbers do not depend on it.",
                self.folder,
                error.strerror or error,
            )

    def _path(self, content: str, extractor: str) -> Path:
        return self.folder / extractor / content[:2] / f"{content}.features"

    def _has_room(self, size: int) -> bool:
        if self._free is None:
            self._free = self.limit - size_of(self.folder)
        if self._free < size:
            return False
        self._free -= size
        return True


def size_of(folder: Path) -> int:
    """Bytes of the kept features; 0 where there are none."""
    total, open_folders = 0, [folder]
    while open_folders:
        with suppress(OSError), os.scandir(open_folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    open_folders.append(Path(entry.path))
                else:
                    total += entry.stat(follow_symlinks=False).st_size
    return total
