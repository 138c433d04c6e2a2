"""Finished pictures in a folder as a model: `<sample id>.png`, one a sample."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from editar_bench.contracts import Context
from editar_bench.errors import UserError
from editar_bench.types import Capability, Example, Generation, Picture, Settings, Task
from models.adapters.common import NATIVE, generations


class FolderOfPictures:
    """Serves the pictures somebody already has for one task.

    A missing picture is an error of that sample alone: the harness makes each sample of a failing batch by itself and
    stores the failure with its reason.
    """

    kind: Literal["measured"] = "measured"
    batch_size = 50

    def __init__(self, images: Path | str, *, name: str, task: Task) -> None:
        self.folder = Path(images)
        if not self.folder.is_dir():
            raise UserError(f"There is no folder {self.folder}; name the folder of the pictures.")
        self.name = name
        self.settings: Settings = {}
        self.capabilities: Mapping[Task, Capability] = {task: NATIVE}
        self.fingerprint: Mapping[str, str] = {"pictures": content_hash(self.folder)}

    def setup(self, context: Context) -> None:
        """Nothing to load."""

    def generate(self, batch: Sequence[Example], seeds: Sequence[int]) -> list[Generation]:
        """Read the pictures; the seeds decide nothing.

        Raises:
            UserError: a picture is missing, unreadable or of the wrong size.
        """
        started = time.perf_counter()
        return generations([self._read(example) for example in batch], started)

    def _read(self, example: Example) -> Picture:
        from PIL import Image

        path = self.folder / f"{example.id}.png"
        if not path.is_file():
            raise UserError(f"There is no picture {path}.")
        try:
            with Image.open(path) as image:
                picture = np.asarray(image.convert("RGB"), dtype=np.uint8)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise UserError(f"{path} cannot be read as a picture; write it again.") from error
        if picture.shape != example.condition.shape:
            height, width = picture.shape[:2]
            wanted_height, wanted_width = example.condition.shape[:2]
            raise UserError(
                f"{path} is {width}x{height} pixels and must be {wanted_width}x{wanted_height}, "
                "the size of its condition; resize it."
            )
        return picture


def content_hash(folder: Path) -> str:
    """sha256 over names and bytes of all PNG files of a folder, in the order of their names."""
    total = hashlib.sha256()
    for path in sorted(folder.glob("*.png")):
        total.update(path.name.encode() + b"\0")
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
