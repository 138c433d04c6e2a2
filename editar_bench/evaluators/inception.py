"""The Inception features of FID and KID, by clean-fid (Parmar et al. 2022) in its mode "clean".

Weights: `inception-2015-12-05.pt`, the TorchScript file of StyleGAN2-ADA that clean-fid downloads.
Legend: B pictures, D = 2048 features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from editar_bench.errors import UserError
from editar_bench.evaluators.sources import SOURCES, local_copy, missing
from editar_bench.types import Picture


class CleanInception(nn.Module):
    """Pictures to features.

    Args:
        network: takes (B, 3, 299, 299) in 0..255 and gives (B, D); clean-fid's `InceptionV3W`.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    @classmethod
    def load(cls, role: str) -> Self:
        """From clean-fid's weights file."""
        from cleanfid.inception_torchscript import InceptionV3W

        path = local_copy(SOURCES[role])
        if path is None:
            raise missing(role)
        try:
            return cls(InceptionV3W(str(path.parent), download=False))
        except RuntimeError as error:
            raise UserError(f"The weights file {path} cannot be read; fetch it again.") from error

    def features(self, pictures: Sequence[Picture], device: torch.device | str) -> Tensor:
        """uint8 pictures of any sizes to (B, D): each channel resized by PIL's bicubic in float32, not rounded."""
        from cleanfid.resize import build_resizer

        resize = build_resizer("clean")
        resized_BHW3 = torch.from_numpy(np.stack([resize(picture) for picture in pictures]))
        with torch.inference_mode():
            features_BD: Tensor = self.network(resized_BHW3.permute(0, 3, 1, 2).to(device))
        return features_BD
