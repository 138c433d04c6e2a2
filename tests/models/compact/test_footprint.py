"""The memory of the published LlamaGen, by hand from its published shape: 36 layers 1280 wide, 775 M parameters."""

from __future__ import annotations

import pytest

from models.compact.footprint import llamagen_footprint
from models.editar.footprint import TEXT_PARAMETERS


@pytest.mark.parametrize(
    ("stage", "device", "size", "side"),
    [(2, "cpu", 4, 512), (2, "cuda:0", 2, 512), (1, "cuda:0", 2, 256)],
)
def test_weights_cache_and_decoding(stage, device, size, side):
    need = llamagen_footprint(stage, device)
    cache = 2 * 2 * 36 * 1280 * (120 + (side // 16) ** 2) * size
    assert need.picture == cache + 6 * 128 * side**2 * 4
    weights = need.loaded - TEXT_PARAMETERS * size - 72e6 * 4
    assert weights == pytest.approx(775e6 * size, rel=0.02)
    assert need.largest == (4 if device == "cpu" else 32)
