"""Picture files from outside: looked at before they are kept, and refused in one sentence."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from editar_bench.errors import UserError
from editar_bench.types import Picture

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP")  # MultiGen has a few TIFFs among its PNGs
# Endings of their files, and of pictures that are not read, so that they can be named among what was left out.
SUFFIXES = frozenset(
    f".{end}" for end in ["jpg", "jpeg", "jpe", "jfif", "png", "webp", "tif", "tiff"]
)
_OTHERS = (
    "avif bmp gif heic heif j2k jp2 jxl pgm ppm psd svg tga arw cr2 cr3 dng nef orf raf raw rw2"
)
UNREAD = frozenset(f".{end}" for end in _OTHERS.split())
MAX_PIXELS = 64_000_000  # a decoded picture of 192 MB
# What turns a picture upright, by the number in a camera's note. PIL's own `exif_transpose` also writes the note anew,
# and fails where another entry of it is damaged.
_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


def picture_files(folder: Path) -> list[str]:
    """Every file under a folder that calls itself a picture, read or not, by its name inside, in order."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES | UNREAD and path.is_file()
    )


def check_picture(data: bytes, where: str) -> tuple[int, int]:
    """(height, width) of an image file that decodes in full.

    Args:
        data: the file.
        where: what it is, for the message.

    Raises:
        UserError: it is no picture, is damaged, too large, or of a format that no data set uses.
    """
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with _opened(data, where) as image:
            image.load()
            return image.height, image.width


def rgb_picture(data: bytes, where: str) -> Picture:
    """An image file as RGB (H, W, 3), decoded once: for training, where every picture is from outside and on its way.

    Args:
        data: the file.
        where: what it is, for the message.

    Raises:
        UserError: as `check_picture`.
    """
    with _opened(data, where) as image:
        return np.array(as_rgb(image, where))


def as_rgb(image: PILImage, where: str) -> PILImage:
    """An opened picture in RGB, turned as its camera says, as Hugging Face datasets reads it; see `refuse_deep`."""
    from PIL.Image import Transpose

    refuse_deep(image, where)
    image.load()  # PIL turns a TIFF here
    turn = _TURNS.get(_orientation(image))
    return (image if turn is None else image.transpose(Transpose[turn])).convert("RGB")


def refuse_deep(image: PILImage, where: str) -> None:
    """Refuse a gray picture of more than 8 bits, of which PIL would cut everything above 255.

    Raises:
        UserError: it is one.
    """
    if image.mode.startswith(("I", "F")):
        raise UserError(f"The picture {where} has more than 8 bits a color; store it with 8.")


def is_turned(image: PILImage) -> bool:
    """Whether a camera's note says that the picture does not lie upright as it is stored."""
    return _orientation(image) in _TURNS


def _orientation(image: PILImage) -> Any:
    """What a camera's note says of it; 1 is upright, and so is what is no number."""
    from PIL import ExifTags

    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except (OSError, SyntaxError, ValueError, struct.error):  # a damaged note says nothing
        return 1


@contextmanager
def _opened(data: bytes, where: str) -> Iterator[PILImage]:
    """An image file whose size is acceptable; what goes wrong with it, here or later, is one sentence."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UserError(
                    f"The picture {where} has {image.width}×{image.height} pixels, too many."
                )
            yield image
    except UserError:
        raise
    except Exception as error:  # PIL's decoders meet damage with errors of any kind
        raise UserError(
            f"The picture {where} cannot be decoded ({type(error).__name__}); get the file again."
        ) from error


def inside(folder: Path, name: str) -> Path:
    """The file `name` under a folder; names that lead out of it are refused."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise UserError(f"The data names a file outside its folder: {name}; do not use this copy.")
    return path
