"""PIL's bicubic resize and center crop, which the published picture encoders were fed by."""

from __future__ import annotations

import numpy as np
from PIL import Image

from editar_bench.types import Picture


def short_side_crop(picture: Picture, short: int, crop: int, *, floor: bool = False) -> Picture:
    """A uint8 picture (H, W, 3) with its short side resized to `short`, then the central `crop` × `crop` pixels.

    Where the center lies between pixels, torchvision's crop takes the even place, that of transformers (`floor`) the
    first one.
    """
    height, width = picture.shape[:2]
    size = (short * width // min(height, width), short * height // min(height, width))
    resized = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
    left, top = ((s - crop) // 2 if floor else round((s - crop) / 2) for s in size)
    return resized[top : top + crop, left : left + crop]
