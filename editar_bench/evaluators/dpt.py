"""DPT-Large (Ranftl et al. 2021) as the depth protocols run it.

Weights: `Intel/dpt-large`. It estimates relative inverse depth: near is large.
Legend: B pictures, h × w pixels of the estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.functional import normalize

from editar_bench.errors import UserError
from editar_bench.evaluators.pictures import as_unit
from editar_bench.evaluators.sources import SOURCES, local_copy, missing
from editar_bench.types import Picture


class DptDepth(nn.Module):
    """Relative inverse depth of pictures.

    Args:
        model: a transformers `DPTForDepthEstimation`.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    @classmethod
    def load(cls, role: str) -> Self:
        """From the published weights: a local folder, the hub's cache, or the hub."""
        from transformers import DPTForDepthEstimation

        place = str(local_copy(SOURCES[role]) or SOURCES[role].hub)
        try:
            return cls(DPTForDepthEstimation.from_pretrained(place).float())
        except OSError as error:
            raise missing(role) from error
        except (RuntimeError, ValueError) as error:
            raise UserError(f"The depth estimator at {place} cannot be loaded: {error}.") from error

    def estimate(self, pictures: Sequence[Picture], side: int) -> Tensor:
        """uint8 pictures of any sizes to (B, side, side).

        As the published processor: PIL's bicubic to a square of `side` pixels, whatever the proportions, then to
        [-1, 1]. Its default side is 384.
        """
        resized = [
            np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))
            for picture in pictures
        ]
        pixels = normalize(as_unit(resized, self.model.device), [0.5] * 3, [0.5] * 3)
        with torch.inference_mode():
            depth_Bhw: Tensor = self.model(pixel_values=pixels).predicted_depth
        return depth_Bhw
