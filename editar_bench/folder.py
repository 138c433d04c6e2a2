"""The check of a folder of finished pictures, before anything is stored."""

from __future__ import annotations

from pathlib import Path

from editar_bench.errors import UserError
from editar_bench.plan import TaskEntry


def check_pictures(folder: Path, entry: TaskEntry) -> None:
    """Open every picture of the wanted samples; missing ones are left for the run to count.

    Raises:
        UserError: no picture at all, or the first one that is unreadable or has the wrong size.
    """
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}; --images names the folder of the pictures.")
    examples = entry.module.load()
    found = 0
    for index in range(entry.wanted):
        example = examples[index]
        path = folder / f"{example.id}.png"
        if path.exists():
            height, width = example.condition.shape[:2]
            _check(path, (width, height))
            found += 1
    if not found:
        raise UserError(
            f"{folder} has no picture for any of the {entry.wanted} samples; "
            f"the files must be called <sample id>.png, such as {examples[0].id}.png."
        )


def _check(path: Path, expected: tuple[int, int]) -> None:
    from PIL import Image

    try:
        with Image.open(path) as image:
            size = image.size
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(
            f"{path} cannot be read as a picture; write it again. Nothing was stored."
        ) from error
    if size != expected:
        raise UserError(
            f"{path} is {size[0]}×{size[1]} pixels and must be {expected[0]}×{expected[1]}, "
            "the size of its condition. Nothing was stored."
        )
