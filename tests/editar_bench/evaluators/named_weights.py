"""Random weights that depend on a tensor's published name and shape alone, so that two programs can have the same."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import torch

# Of a segmenter whose queries would otherwise all say the same, because their layers say it louder.
_QUIET = "decode_head.transformer_decoder."
_LOUD = ("decode_head.cls_embed.", "decode_head.mask_embed.4.", "decode_head.query_feat.")


def named_tensor(name: str, shape: Sequence[int]) -> torch.Tensor:
    """Large enough to tell wrong wiring apart, small enough not to overflow."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    if name.endswith(("num_batches_tracked", "relative_position_index")):
        return torch.zeros(shape, dtype=torch.int64)
    noise = torch.randn(shape, generator=generator)
    if name.endswith("running_var"):
        return 0.5 + noise.abs()
    if len(shape) > 1:
        gain = 8.0 if name.startswith(_LOUD) else 0.3 if name.startswith(_QUIET) else 0.9
        return noise * gain / float(np.prod(shape[1:])) ** 0.5
    centered = 1.0 if name.endswith(".weight") else 0.0
    return centered + 0.2 * noise


def noise_picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Blocks of 4 × 4 pixels of random color."""
    small = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3))
    return np.kron(small, np.ones((4, 4, 1), dtype=np.int64)).astype(np.uint8)
