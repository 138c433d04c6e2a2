"""Pictures by content hash."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from editar_bench.errors import UserError
from editar_bench.pictures import (
    decode_picture,
    picture_hash,
    picture_path,
    read_picture,
    write_picture,
)

PICTURE = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def test_pictures_come_back_exactly(tmp_path: Path) -> None:
    name = write_picture(tmp_path, PICTURE)
    assert picture_path(tmp_path, name) == tmp_path / name[:2] / f"{name}.png"
    np.testing.assert_array_equal(read_picture(tmp_path, name), PICTURE)


def test_the_hash_is_of_pixels_and_shape() -> None:
    assert picture_hash(PICTURE) == picture_hash(PICTURE[:, ::-1][:, ::-1])
    assert picture_hash(PICTURE) != picture_hash(PICTURE.reshape(7, 5, 3))
    changed = PICTURE.copy()
    changed[0, 0, 0] ^= 1
    assert picture_hash(changed) != picture_hash(PICTURE)


def test_a_stored_picture_is_not_written_again(tmp_path: Path) -> None:
    name = write_picture(tmp_path, PICTURE)
    before = picture_path(tmp_path, name).stat().st_mtime_ns
    assert write_picture(tmp_path, PICTURE) == name
    assert picture_path(tmp_path, name).stat().st_mtime_ns == before
    assert len(list(tmp_path.rglob("*"))) == 2  # the folder and the file, nothing left over


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    name = write_picture(tmp_path, PICTURE)
    picture_path(tmp_path, name).write_bytes(b"no picture")
    with pytest.raises(UserError, match=f"{name}.png is missing or damaged"):
        read_picture(tmp_path, name)


def test_a_picture_of_another_format_or_of_a_huge_size_is_not_opened() -> None:
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n%%EndComments\nshowpage\n"
    header = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    huge = b"\x89PNG\r\n\x1a\n"
    for chunk in (header, b"IDAT"):
        huge += struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    for content, cause in (
        (postscript, UnidentifiedImageError),
        (huge, Image.DecompressionBombError),
    ):
        with pytest.raises(UserError, match="x is missing or damaged") as raised:
            decode_picture(io.BytesIO(content), "x")
        assert isinstance(raised.value.__cause__, cause)  # Ghostscript would have been asked for
