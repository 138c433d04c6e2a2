"""The sha256 of every test picture, so that a machine whose renders differ can say so.

`python -m data_prep.scenes.hashes` makes the test splits anew and stores their hashes: needed after
every change of the renderer, the draws, or the picture size.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from data_prep.scenes.build import build_split
from data_prep.scenes.constants import IMAGE_SIZE
from data_prep.scenes.reader import picture_hash, read_split
from editar_bench.errors import UserError
from editar_bench.types import Example, Task

HASHES_PATH = Path(__file__).with_name("test_hashes.json")


def collect(folder: Path, size: int) -> dict[str, Any]:
    """The record to store: the picture size and one hash a sample of the four built test splits."""
    hashes: dict[str, str] = {}
    for task in Task:
        examples = read_split(folder, task, "test")
        if examples.size != size:
            raise UserError(
                f"The data in {folder} has {examples.size} pixels a side where {size} are "
                "expected; build it again with `editar-bench prepare --suite scenes`."
            )
        hashes |= {example.id: picture_hash(example) for example in examples}
    return {"size": size, "sha256": hashes}


def store(folder: Path, size: int, path: Path = HASHES_PATH) -> None:
    """Write the hashes of the test splits under `folder`."""
    path.write_text(json.dumps(collect(folder, size), indent=0) + "\n")


def load(path: Path = HASHES_PATH) -> dict[str, Any]:
    """The stored record: {"size": pixels, "sha256": {sample id: hash}}."""
    record: dict[str, Any] = json.loads(path.read_text())
    return record


def verify(examples: Iterable[Example], stored: Mapping[str, str] | None = None) -> list[str]:
    """The ids of test samples whose pictures differ from the stored ones, in order; [] = all equal.

    A sample without a stored hash counts as different.
    """
    expected = load()["sha256"] if stored is None else stored
    return [example.id for example in examples if expected.get(example.id) != picture_hash(example)]


def main() -> None:
    """Build the four test splits in a temporary folder and store their hashes."""
    with tempfile.TemporaryDirectory() as folder:
        for task in Task:
            build_split("test", task, Path(folder), IMAGE_SIZE)
        store(Path(folder), IMAGE_SIZE)


if __name__ == "__main__":
    main()
