"""Picture files from outside: looked at before they are kept, and refused in one sentence."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

from editar_bench.errors import UserError

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP")  # MultiGen has a few TIFFs among its PNGs
MAX_PIXELS = 64_000_000  # a decoded picture of 192 MB


def check_picture(data: bytes, where: str) -> tuple[int, int]:
    """(height, width) of an image file that decodes in full.

    Args:
        data: the file.
        where: what it is, for the message.

    Raises:
        UserError: it is no picture, is damaged, too large, or of a format that no data set uses.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise UserError(f"The picture {where} has {width}×{height} pixels, too many.")
                image.load()
    except (OSError, SyntaxError, ValueError, Warning, Image.DecompressionBombError) as error:
        raise UserError(
            f"The picture {where} cannot be decoded ({type(error).__name__}); fetch the data again."
        ) from error
    return height, width


def inside(folder: Path, name: str) -> Path:
    """The file `name` under a folder; names that lead out of it are refused."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise UserError(f"The data names a file outside its folder: {name}; do not use this copy.")
    return path
