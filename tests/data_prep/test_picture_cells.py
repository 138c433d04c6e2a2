"""Pictures in the cells of paired data, which a bundle can bring."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from data_prep.paired import decode, decode_picture


def cell(kind: str) -> dict[str, bytes]:
    file = io.BytesIO()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(file, format=kind)
    return {"bytes": file.getvalue()}


@pytest.mark.parametrize("read", [decode, decode_picture])
def test_a_format_that_a_program_would_draw_is_not_opened(read):
    assert read(cell("PNG")).shape == (4, 4, 3)
    with pytest.raises(UnidentifiedImageError):
        read(cell("EPS"))
