"""A sample as the networks take it, made from a row of a source or read back from where it was computed before.

Legend: S side of a picture, N codes a picture, T text slots, C width of text features.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from data_prep.training.pairs import Pair
from data_prep.untrusted import rgb_picture
from editar_bench.conditions import canny_published
from editar_bench.errors import UserError
from editar_bench.types import Picture, Task
from models.editar.pictures import fit
from models.editar.templates import prompt_for
from models.training.paper.teacher import Crop

_LONGEST = (
    16  # times the short side: scaling the short side of a longer picture would fill the memory
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One sample: pictures to be coded, or their codes.

    `pictures` are condition and target, uint8 (2, S, S, 3); `codes` int64 (2, N). `crop` is what the teacher sees of
    the target. `features` are text features bfloat16 (T, C) computed before.
    """

    prompt: str
    crop: Picture
    pictures: NDArray[np.uint8] | None = None
    codes: Tensor | None = None
    features: Tensor | None = None


def from_pair(pair: Pair, task: Task, side: int, crop: Crop) -> Sample:
    """Scale, cut and, for edges, draw, as the published data sets do; no flip, no random crop.

    Raises:
        UserError: a picture is a strip.
    """
    target = _fitted(pair.target, side)
    condition = canny_published(target) if pair.condition is None else _fitted(pair.condition, side)
    return Sample(
        prompt=prompt_for(task, pair.text),
        crop=crop(target),
        pictures=np.stack([condition, target]),
    )


def _fitted(picture: Picture, side: int) -> Picture:
    height, width = picture.shape[:2]
    if max(height, width) > _LONGEST * min(height, width):
        raise UserError(f"A picture of {width}×{height} pixels is too long and narrow.")
    return fit(picture, side)


def stored(prompt: str, crop: Picture, codes: Tensor, features: Tensor | None) -> dict[str, Any]:
    """The cells of a sample whose codes, and perhaps text features, are computed already."""
    png = io.BytesIO()
    Image.fromarray(crop).save(png, "PNG")
    return {
        "prompt": prompt,
        "crop": png.getvalue(),
        "codes": codes.numpy().astype("<u2").tobytes(),  # the largest codebook has 16384 entries
        "features": None
        if features is None
        else features.bfloat16().view(torch.int16).numpy().astype("<i2").tobytes(),
    }


def from_stored(cells: Mapping[str, Any], slots: int) -> Sample:
    """Read back what `stored` wrote; `slots` is T."""
    codes = np.frombuffer(cells["codes"], "<u2").astype(np.int64)
    features = None
    if cells["features"] is not None:
        flat = torch.from_numpy(np.frombuffer(cells["features"], "<i2").astype(np.int16))
        features = flat.view(torch.bfloat16).unflatten(0, (slots, -1))
    return Sample(
        prompt=cells["prompt"],
        crop=rgb_picture(cells["crop"], "crop of a computed sample"),
        codes=torch.from_numpy(codes).unflatten(0, (2, -1)),
        features=features,
    )
