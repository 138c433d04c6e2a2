"""Finished pictures in a folder as a model, in one of the layouts of `layouts.LAYOUTS`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from editar_bench.contracts import Context
from editar_bench.errors import UserError
from editar_bench.types import Capability, Example, Generation, Picture, Settings, Task
from models.adapters.common import NATIVE
from models.adapters.layouts import LAYOUTS

# Whatever a file's name ends in; PIL would have a program run PostScript.
FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF")


class FolderOfPictures:
    """Serves the pictures somebody already has for one task.

    A missing picture is an error of that sample alone: the harness makes each sample of a failing batch by itself and
    stores the failure with its reason.

    Args:
        images: the folder.
        name: of the row.
        task: that the pictures belong to.
        layout: how they are called; "plain" is `<sample id>.png`.
        repeats: pictures a sample.
        seed_of: the seed that the harness gives to a sample id and a repeat, which tells the repeats apart.
        any_size: whether the data set takes pictures of other sizes than their conditions.
    """

    kind: Literal["measured"] = "measured"
    batch_size = 50

    def __init__(
        self,
        images: Path | str,
        *,
        name: str,
        task: Task,
        layout: str = "plain",
        repeats: int = 1,
        seed_of: Callable[[str, int], int] | None = None,
        any_size: bool = False,
    ) -> None:
        self.folder = Path(images)
        if not _is_folder(self.folder):
            raise UserError(f"There is no folder {self.folder}; name the folder of the pictures.")
        self.layout = LAYOUTS[layout]
        if repeats > 1 and not self.layout.repeated:
            raise UserError(
                f"The layout '{layout}' has one picture a sample; leave --repeats out, or choose "
                f"one of {', '.join(n for n, other in LAYOUTS.items() if other.repeated)}."
            )
        self.name = name
        self.settings: Settings = {"source": "precomputed", "layout": layout, "repeats": repeats}
        self.capabilities: Mapping[Task, Capability] = {task: NATIVE}
        self._pictures = self.layout.pictures(self.folder)
        self._repeats = repeats
        self._seed_of = seed_of
        self._any_size = any_size
        self.fingerprint: Mapping[str, str] = {"pictures": content_hash(self._pictures)}

    def setup(self, context: Context) -> None:
        """Nothing to load."""

    def generate(self, batch: Sequence[Example], seeds: Sequence[int]) -> list[Generation]:
        """Read the pictures; the seeds decide which repeat it is, nothing else.

        Raises:
            UserError: a picture is missing, unreadable or of the wrong size.
        """
        pictures = [
            self.read(example, self._repeat_of(example, seed))
            for example, seed in zip(batch, seeds, strict=True)
        ]
        return [Generation(image=picture, seconds=0.0) for picture in pictures]

    def has(self, example: Example, repeat: int = 0) -> bool:
        """Whether there is a picture."""
        return self.key(example, repeat) in self._pictures

    def key(self, example: Example, repeat: int = 0) -> str:
        """What the layout calls a sample's picture."""
        return self.layout.key(example.id, repeat, self._repeats)

    def read(self, example: Example, repeat: int = 0) -> Picture:
        """A sample's picture; see `generate` for what it raises."""
        from PIL import Image

        path = self._pictures.get(self.key(example, repeat))
        if path is None:
            wanted = self.key(example, repeat) or self.layout.pattern
            raise UserError(
                f"There is no picture {wanted} of sample {example.id} in {self.folder}."
            )
        height, width = example.condition.shape[:2]
        try:
            with Image.open(path, formats=FORMATS) as image:
                deep = image.mode.startswith(("I", "F"))
                picture = image.convert("RGB")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise UserError(f"{path} cannot be read as a picture; write it again.") from error
        if deep:  # PIL would cut everything above 255
            raise UserError(f"{path} has more than 8 bits a color; write it with 8.")
        if self.layout.strip and picture.width != picture.height:  # what is too small is said below
            right, bottom = picture.size
            if right >= width and bottom >= height:
                picture = picture.crop((right - width, bottom - height, right, bottom))
        if picture.size != (width, height) and not self._any_size:
            raise UserError(
                f"{path} is {picture.width}×{picture.height} pixels and must be {width}×{height}, "
                "the size of its condition; resize it."
            )
        return np.asarray(picture, dtype=np.uint8)

    def _repeat_of(self, example: Example, seed: int) -> int:
        if self._seed_of is None:
            return 0
        return next(r for r in range(self._repeats) if self._seed_of(example.id, r) == seed)


def content_hash(pictures: Mapping[str, Path]) -> str:
    """sha256 over names and bytes of all pictures, in the order of their names.

    Raises:
        UserError: one of them cannot be read, or is no file: a broken link, or a pipe, which would never end.
    """
    total = hashlib.sha256()
    for name in sorted(pictures):
        path = pictures[name]
        total.update(name.encode(errors="surrogateescape") + b"\0")
        try:
            if not path.is_file():
                raise UserError(f"{path} is no regular file; put a picture there or remove it.")
            total.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError as error:
            raise UserError(
                f"{path} cannot be read ({error.strerror}); mend or remove it."
            ) from error
    return total.hexdigest()


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name too long, a folder above it that may not be entered
        return False
