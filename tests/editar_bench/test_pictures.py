"""Pictures by content hash."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from editar_bench.errors import UserError
from editar_bench.pictures import picture_hash, picture_path, read_picture, write_picture

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
