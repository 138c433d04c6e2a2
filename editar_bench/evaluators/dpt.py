"""DPT-Large (Ranftl et al. 2021) as the depth protocols run it.

Weights: `Intel/dpt-large`. It estimates relative inverse depth: near is large.
Legend: B pictures, h × w pixels of the estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
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
        resampling: PIL's filter that brings pictures to the size of the network.
    """

    resampling: Tensor

    def __init__(
        self, model: nn.Module, resampling: Image.Resampling = Image.Resampling.BICUBIC
    ) -> None:
        super().__init__()
        self.model = model
        # A buffer, so that it is a part of what the network is known by: another filter gives other estimates.
        self.register_buffer("resampling", torch.tensor(int(resampling)))

    @classmethod
    def load(cls, role: str) -> Self:
        """From the published weights: a local folder, the hub's cache, or the hub."""
        from transformers import DPTForDepthEstimation

        place = str(local_copy(SOURCES[role]) or SOURCES[role].hub)
        try:
            return cls(DPTForDepthEstimation.from_pretrained(place).float(), _resampling(place))
        except OSError as error:
            raise missing(role) from error
        except (RuntimeError, ValueError) as error:
            raise UserError(f"The depth estimator at {place} cannot be loaded: {error}.") from error

    def estimate(self, pictures: Sequence[Picture], side: int) -> Tensor:
        """uint8 pictures of any sizes to (B, side, side).

        As the published processor: to a square of `side` pixels, whatever the proportions, then to [-1, 1]. Its
        default side is 384.
        """
        resampling = Image.Resampling(int(self.resampling))
        resized = [
            np.asarray(Image.fromarray(picture).resize((side, side), resampling))
            for picture in pictures
        ]
        pixels = normalize(as_unit(resized, self.model.device), [0.5] * 3, [0.5] * 3)
        with torch.inference_mode():
            depth_Bhw: Tensor = self.model(pixel_values=pixels).predicted_depth
        return depth_Bhw


def _resampling(place: str) -> Image.Resampling:
    """The filter in the settings of the processor that was published with the weights.

    A copy without them gets that of transformers' class. They differ: the processor of 2022, which converted
    `Intel/dpt-large`, was bilinear, today's class is bicubic.
    """
    from transformers import DPTImageProcessor

    own, file = Image.Resampling.BICUBIC, Path(place, "preprocessor_config.json")
    if Path(place).is_dir() and not file.exists():
        return own
    try:
        settings, _ = DPTImageProcessor.get_image_processor_dict(place)
        return Image.Resampling(settings.get("resample", own))
    except (OSError, ValueError) as error:
        if not file.exists():  # of the hub, and out of reach as the weights would be
            raise
        raise UserError(f"{file} cannot be used ({error}); fetch it again.") from error
