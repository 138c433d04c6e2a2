"""Files of every room: their checksums, and how they appear whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path


def file_sha256(path: Path) -> str:
    """The checksum of a file in hexadecimal, read in pieces: weights and data sets may not fit into memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """A name to write to, moved to `path` when all went well: readers never meet half a file.

    Whatever goes wrong, `path` stays as it was and nothing is left beside it. The folder must be there.

    Raises:
        OSError: the disk is full or may not be written to.
    """
    # Not the process's number: threads, and machines that share the folder, may write the same file at once.
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        # Some libraries write to a file of their own that none but its owner may read, and rename it.
        aside.touch()
        usual = aside.stat().st_mode
        aside.unlink()
        yield aside
        aside.chmod(usual)
        os.replace(aside, path)
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
