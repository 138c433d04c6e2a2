"""A source picture to its noise and back: what every inversion editor does with Stable Diffusion's parts.

DDIM inversion (Dhariwal and Nichol 2021, Song et al. 2021): the deterministic step run backwards, with the noise
predicted at the later time. Nothing here draws a random number.

R rows of a batch, C latent channels, h and w sides of the latents, L tokens, W width of the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from editar_bench.errors import UserError
from models.adapters.pipelines import stay_within_levels

if TYPE_CHECKING:
    from PIL.Image import Image

# Stable Diffusion's own times (1, 21, ..., 981 at 50 steps), whatever sampler the folder was saved with.
_SCHEDULE = {
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "timestep_spacing": "leading",
}


class Control(Protocol):
    """What an editor does around the steps of `Sampler.denoise`."""

    def before(self, step: int) -> None:
        """Called before the network runs."""

    def after(self, step: int, latents_RChw: Tensor) -> Tensor:
        """The latents that the next step begins with."""


class Sampler:
    """A loaded Stable Diffusion pipeline with DDIM's steps in both directions.

    Args:
        pipeline: of the diffusers library, placed on `device`.
        device: where latents and texts live.
        steps: in either direction.
        guidance: of sampling; the inversion has none.

    Raises:
        UserError: the pipeline is no text-to-image Stable Diffusion.
    """

    def __init__(self, pipeline: Any, device: str, steps: int, guidance: float) -> None:
        from diffusers import DDIMInverseScheduler, DDIMScheduler

        self.pipeline = pipeline
        self.device = device
        self.unet = pipeline.unet.requires_grad_(False)
        self.vae = pipeline.vae.requires_grad_(False)
        if self.unet.config.in_channels != self.vae.config.latent_channels:
            raise UserError(
                "inversion editors need a text-to-image Stable Diffusion, but this network takes "
                f"{self.unet.config.in_channels} channels; name the folder of version 1.4 or 1.5"
            )
        config = {**pipeline.scheduler.config, **_SCHEDULE}
        config.pop("_use_default_values", None)  # names what a folder left out: not to be passed on
        self.ddim = DDIMScheduler.from_config(config)
        self.inverse = DDIMInverseScheduler.from_config(config)
        for scheduler in (self.ddim, self.inverse):
            stay_within_levels(scheduler, steps)
            scheduler.set_timesteps(steps)
        self.times = self.ddim.timesteps.tolist()  # the noisiest first
        self.guidance = guidance

    @property
    def side(self) -> int:
        """Pixels of the pictures' sides."""
        halvings = len(self.vae.config.block_out_channels) - 1
        return int(self.unet.config.sample_size) << halvings

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Captions as the UNet reads them: (R, L, W), padded to the longest that the encoder knows."""
        features_RLW: Tensor = self.pipeline.encode_prompt(list(texts), self.device, 1, False)[0]
        return features_RLW

    def encode(self, image: Image) -> Tensor:
        """The latents of an RGB picture of the side, (1, C, h, w): the posterior's mean."""
        pixels_HW3 = torch.from_numpy(np.array(image)).to(self.device, self.vae.dtype)
        image_13HW = (pixels_HW3 / 127.5 - 1).permute(2, 0, 1)[None]
        posterior = self.vae.encode(image_13HW).latent_dist
        latents: Tensor = posterior.mean * self.vae.config.scaling_factor
        return latents

    def decode(self, latents_RChw: Tensor) -> Tensor:
        """The pictures of latents, (R, 3, H, W), about in [-1, 1]."""
        images: Tensor = self.vae.decode(latents_RChw / self.vae.config.scaling_factor).sample
        return images

    def noise(self, latents_RChw: Tensor, time: int, text_RLW: Tensor) -> Tensor:
        """The noise that the network sees under each row's text."""
        noise: Tensor = self.unet(latents_RChw, time, encoder_hidden_states=text_RLW).sample
        return noise

    def guided_noise(
        self, latents_RChw: Tensor, time: int, null_RLW: Tensor, text_RLW: Tensor
    ) -> Tensor:
        """The same with guidance; the network gets the rows without text first, then those with it."""
        both = self.noise(torch.cat([latents_RChw] * 2), time, torch.cat([null_RLW, text_RLW]))
        without, with_text = both.chunk(2)
        return without + self.guidance * (with_text - without)

    def step(self, noise_RChw: Tensor, time: int, latents_RChw: Tensor) -> Tensor:
        """One step to less noise."""
        latents: Tensor = self.ddim.step(noise_RChw, time, latents_RChw).prev_sample
        return latents

    def invert(self, latents_1Chw: Tensor, text_1LW: Tensor) -> list[Tensor]:
        """The path z_0, ..., z_T from clean latents to noise under a caption, without guidance: steps + 1 latents."""
        path = [latents_1Chw]
        for time in reversed(self.times):
            noise = self.noise(path[-1], time, text_1LW)
            path.append(self.inverse.step(noise, time, path[-1]).prev_sample)
        return path

    def resample(self, latents_1Chw: Tensor, text_1LW: Tensor) -> list[Tensor]:
        """The path from noise back under a caption, without guidance, in the order of `invert`: z_0 first."""
        path = [latents_1Chw]
        for time in self.times:
            noise = self.noise(path[-1], time, text_1LW)
            path.append(self.step(noise, time, path[-1]))
        return path[::-1]

    def denoise(
        self,
        start_1Chw: Tensor,
        nulls: Sequence[Tensor],
        text_RLW: Tensor,
        control: Control,
    ) -> Tensor:
        """Sample one row a text from the same noise; row 0 is the source.

        Args:
            start_1Chw: the noise.
            nulls: the text (1, L, W) that guidance leads away from, one a step.
            text_RLW: one text a row.
            control: what the editor does around the steps.

        Returns:
            (R, C, h, w).
        """
        latents = start_1Chw.expand(len(text_RLW), -1, -1, -1)
        for step, time in enumerate(self.times):
            control.before(step)
            null_RLW = nulls[step].expand_as(text_RLW)
            noise = self.guided_noise(latents, time, null_RLW, text_RLW)
            latents = control.after(step, self.step(noise, time, latents))
        return latents
