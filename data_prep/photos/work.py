"""What a worker process does with one photo: read it, cut it to the size of the benchmarks, find its edges.

A photo becomes 512 × 512 pixels as EditAR has it: the short side to 512 by PIL's Lanczos, then the middle.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from data_prep.untrusted import FORMATS, as_rgb, check_picture, is_turned
from editar_bench.conditions import canny_published
from editar_bench.errors import UserError
from editar_bench.types import Picture

SIDE = 512  # pixels
LEAST = 64  # pixels of the short side; what is smaller was no photo
LONGEST = 20  # short sides; enlarged as a whole, what is longer would take gigabytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One photo's part of a pair; without `target` it is left out, for the `reason`."""

    content: str = ""  # sha256 of the file
    target: bytes = b""  # a PNG or JPEG file
    pixels: Picture | None = None  # the same, decoded, where a network is going to look at it
    edges: bytes = b""  # a PNG file
    reason: str = ""


def start() -> None:
    """Of a worker process: one core each, and the edge detector loaded before the first photo."""
    import torch

    torch.set_num_threads(1)
    canny_published(np.zeros((8, 8, 3), dtype=np.uint8))


def make(path: Path, *, edges: bool, pixels: bool) -> Made:
    """Read a photo.

    Args:
        path: the file.
        edges: also its canny map, by the convention `kornia`.
        pixels: also hand over the decoded picture.
    """
    try:
        data = path.read_bytes()
        check_picture(data, path.name)
        target, picture = cut(data, path.name)
    except OSError as error:
        return Made(reason=f"cannot be read ({error.strerror or error})")
    except UserError as error:
        return Made(reason=str(error))
    return Made(
        content=hashlib.sha256(data).hexdigest(),
        target=target,
        pixels=picture if pixels else None,
        edges=png(canny_published(picture)[..., 0]) if edges else b"",
    )


def cut(data: bytes, where: str) -> tuple[bytes, Picture]:
    """A photo as a file and as pixels (512, 512, 3).

    A file that has that size and lies upright stays as it is; others are turned as their camera says, shrunk or
    enlarged, cut, and stored as PNG.

    Args:
        data: the file.
        where: what it is, for the message.

    Raises:
        UserError: it is too small, a mere strip, or has more than 8 bits a color.
    """
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        width, height = image.size
        if min(width, height) < LEAST:
            raise UserError(f"The picture has only {width}×{height} pixels.")
        if max(width, height) > LONGEST * min(width, height):
            raise UserError(f"The picture is a strip of {width}×{height} pixels.")
        rgb = as_rgb(image, where)
        stays = image.size == (SIDE, SIDE) and image.format in ("JPEG", "PNG")
        if stays and not is_turned(image):
            return data, np.array(rgb)
    width, height = rgb.size
    scale = SIDE / min(width, height)
    size = (max(SIDE, round(width * scale)), max(SIDE, round(height * scale)))
    large = rgb.resize(size, Image.Resampling.LANCZOS)
    left, top = (size[0] - SIDE) // 2, (size[1] - SIDE) // 2
    picture = np.array(large.crop((left, top, left + SIDE, top + SIDE)))
    return png(picture), picture


def png(pixels: np.ndarray) -> bytes:
    """A PNG file, compressed little: writing it must not cost more than finding edges."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()
