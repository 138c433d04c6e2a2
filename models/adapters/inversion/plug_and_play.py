"""Plug-and-Play (Tumanyan et al. 2023, arXiv 2211.12572), section 4.

Three rows run side by side: the source at the step's noise level, and the target without and with its caption. In the
first part of the steps the target takes over the source's features behind the fourth decoder block's convolutions and
the queries and keys of decoder self-attention. Protocol of PIE-Bench: Stable Diffusion 1.5, 50 steps, guidance 7.5,
inversion under the source caption (the empty one where the data has none), source features under the empty one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from models.adapters.inversion.attention import SharedRows, attention_layers, processors
from models.adapters.inversion.sampler import Sampler

_SOURCE_FOR_ALL = (0, 0, 0)


class Injection:
    """Which features of the source row the target rows take over, by step.

    Args:
        features_until: steps with the decoder's convolution features.
        attention_until: steps with queries and keys.
    """

    def __init__(self, features_until: int, attention_until: int) -> None:
        self.features_until = features_until
        self.attention_until = attention_until
        self.step = 0

    @contextmanager
    def attached(self, unet: Any) -> Iterator[None]:
        """The UNet with the injection in it."""
        shared = SharedRows(_SOURCE_FOR_ALL, ("query", "key"), self._attention)
        selves = [layer for layer in attention_layers(unet) if not layer.cross]
        decoder = [layer.name for layer in selves if layer.name.startswith("up")]
        convolution = unet.up_blocks[1].resnets[1].conv2
        hook = convolution.register_forward_hook(self._features)
        try:
            with processors(unet, dict.fromkeys(decoder[1:], shared)):  # blocks 4 to 11
                yield
        finally:
            hook.remove()

    def _attention(self, positions: int) -> bool:
        return self.step < self.attention_until

    def _features(self, module: Any, arguments: Any, features_3Chw: Tensor) -> Tensor:
        taken = self.step < self.features_until
        return features_3Chw[list(_SOURCE_FOR_ALL)] if taken else features_3Chw


def inject(
    sampler: Sampler, source_path: Sequence[Tensor], texts_3LW: Tensor, injection: Injection
) -> Tensor:
    """The target's clean latents (1, C, h, w).

    Args:
        sampler: gives network, times and guidance.
        source_path: the source's latents, those of the last step first; the target begins where it ends.
        texts_3LW: of the source row, of the target without its caption and with it.
        injection: what the target takes over.
    """
    latents = source_path[-1]
    with injection.attached(sampler.unet):
        for step, time in enumerate(sampler.times):
            injection.step = step
            rows = torch.cat([source_path[-1 - step], latents, latents])
            _, without, with_text = sampler.noise(rows, time, texts_3LW).chunk(3)
            noise = without + sampler.guidance * (with_text - without)
            latents = sampler.step(noise, time, latents)
    return latents
