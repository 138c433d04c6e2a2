"""MasaCtrl (Cao et al. 2023, arXiv 2304.08465), section 3.2: mutual self-attention control.

Source and target run side by side from the inverted noise; from the fifth step on, decoder self-attention of the target
asks its own queries, but reads the source's keys and values. Protocol of PIE-Bench: Stable Diffusion 1.4, 50 steps,
guidance 7.5, the source under the empty caption, control from step 4 and layer 10 on (both counted from 0).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor

from editar_bench.errors import UserError
from models.adapters.inversion.attention import SharedRows, attention_layers, processors

_TARGET_READS_SOURCE = (0, 0, 2, 2)  # source and target without text, source and target with it


class MutualSelfAttention:
    """The control of one picture's edit.

    Args:
        start_step: the first step under control.
        start_layer: the first transformer block under control, counted as the UNet runs.
    """

    def __init__(self, start_step: int, start_layer: int) -> None:
        self.start_step = start_step
        self.start_layer = start_layer
        self.step = 0

    def attached(self, unet: Any) -> AbstractContextManager[None]:
        """The UNet's self-attention under this control.

        Raises:
            UserError: the UNet has no such layer.
        """
        selves = [layer for layer in attention_layers(unet) if not layer.cross]
        controlled = [layer.name for layer in selves if layer.block >= self.start_layer]
        if not controlled:
            raise UserError(
                f"start_layer is {self.start_layer}, but the network has {len(selves)} layers; "
                "name one that is there"
            )
        shared = SharedRows(_TARGET_READS_SOURCE, ("key", "value"), self._active)
        return processors(unet, dict.fromkeys(controlled, shared))

    def before(self, step: int) -> None:
        """Remember the step."""
        self.step = step

    def after(self, step: int, latents_2Chw: Tensor) -> Tensor:
        """The latents as they are."""
        return latents_2Chw

    def _active(self, positions: int) -> bool:
        return self.step >= self.start_step
