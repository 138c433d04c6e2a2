"""The small work between the products of a sampling step, fused for GPUs, in Triton.

Each file has the kernels of one job and the torch code beside which it is tested: `attention` of
`models.editar.attending`, `racing` of `models.editar.racing`, `products` of `models.editar.products` and
`models.editar.precision`. Nothing here waits for the device or depends on the host's knowledge of how far a picture
is, so a whole pass can be captured as one CUDA graph.
"""

from __future__ import annotations

import importlib.util

import torch


def available(device: torch.device) -> bool:
    """Whether the kernels run there; Triton comes with torch where torch has CUDA."""
    return device.type == "cuda" and importlib.util.find_spec("triton") is not None
