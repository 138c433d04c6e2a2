"""float32 that is float32: published protocols are computed in it, and what is faster needs a protocol of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def exact_float32() -> Iterator[None]:
    """No TF32 inside, which PyTorch uses for convolutions on CUDA unless told otherwise; outside all is as it was."""
    import torch

    places = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [place.allow_tf32 for place in places]
    try:
        for place in places:
            place.allow_tf32 = False
        yield
    finally:
        for place, allowed in zip(places, before, strict=True):
            place.allow_tf32 = allowed
