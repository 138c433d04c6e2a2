"""Pictures on disk: PNG files named by the hash of their pixels, written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from editar_bench.errors import UserError
from editar_bench.types import Picture

PICTURES = "pictures"  # the folder in a results folder
FORMATS = (
    "PNG",
)  # a folder from elsewhere may hold others, and PIL has a program run some of them
_END = b"\0\0\0\0IEND\xaeB`\x82"  # of every PNG file


def picture_hash(picture: Picture) -> str:
    """sha256 over shape and pixels: two PNG encoders may disagree, two equal pictures may not."""
    digest = hashlib.sha256(repr(picture.shape).encode())
    digest.update(np.ascontiguousarray(picture).tobytes())
    return digest.hexdigest()


def picture_path(folder: Path, name: str) -> Path:
    """Where the picture with this hash lies under the pictures folder."""
    return folder / name[:2] / f"{name}.png"


def is_whole(path: Path) -> bool:
    """Whether a stored picture is there to its end, as far as its last bytes tell."""
    try:
        with path.open("rb") as file:
            file.seek(-len(_END), os.SEEK_END)
            return file.read() == _END
    except OSError:  # not there, or shorter than an end
        return False


def write_picture(folder: Path, picture: Picture) -> str:
    """Store an (H, W, 3) uint8 picture and return its hash; one that is there whole is not written again."""
    from PIL import Image

    name = picture_hash(picture)
    path = picture_path(folder, name)
    if is_whole(path):
        return name
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            Image.fromarray(picture).save(file, format="png", compress_level=3)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return name


def picture_file(out: Path, path: Any) -> Path | None:
    """The file of a stored path; None where there is no path, or it leads out of the results' pictures.

    A store may come from elsewhere, and what it names is shown to whoever opens the pages, or sent to a judge.
    """
    if not isinstance(path, str) or not path:
        return None
    file = (out / path).resolve()
    return file if file.is_relative_to((out / PICTURES).resolve()) else None


def read_picture(folder: Path, name: str) -> Picture:
    """Read a stored picture back as (H, W, 3) uint8."""
    path = picture_path(folder, name)
    return decode_picture(path, str(path))


def decode_picture(file: Path | BinaryIO, where: str) -> Picture:
    """A stored picture as (H, W, 3) uint8.

    Args:
        file: where it is read from.
        where: what to call that in a message.
    """
    from PIL import Image

    try:
        with Image.open(file, formats=FORMATS) as image:
            return np.asarray(image.convert("RGB"), dtype=np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(
            f"The stored picture {where} is missing or damaged; remove it and run the same command again, "
            "which makes it anew."
        ) from error
