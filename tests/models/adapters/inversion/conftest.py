"""A tiny Stable Diffusion with the released one's blocks: attention at three sides of the latents and in the middle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from editar_bench.types import Example
from models.adapters import pipelines
from models.adapters.inversion.sampler import Sampler
from tests.models.adapters import tiny
from tests.models.making import example, noise

SIDE = 16  # pixels; latents have half of it
SOURCE, TARGET = "a cat on a mat", "a big dog on a mat"


def unet() -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=SIDE // 2,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        block_out_channels=(8, 16, 16, 16),
        layers_per_block=2,
        cross_attention_dim=tiny.WIDTH,
        attention_head_dim=2,
        norm_num_groups=4,
    )


def captioned(i: int = 0, **changes: Any) -> Example:
    values = {"condition": noise(i, SIDE), "source_caption": SOURCE, "target_caption": TARGET}
    return example(i, **values | changes)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pipeline in diffusers' format."""
    from diffusers import PNDMScheduler, StableDiffusionPipeline

    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = unet()
    with torch.no_grad():  # at its start the network hardly listens to its text
        for name, parameter in net.named_parameters():
            if ".attn" in name:
                parameter.mul_(3 if parameter.ndim > 1 else 1)
    path = tmp_path_factory.mktemp("weights") / "stable-diffusion"
    StableDiffusionPipeline(
        vae=tiny.vae(),
        text_encoder=tiny.text_encoder(),
        tokenizer=tiny.tokenizer(),
        unet=net,
        scheduler=PNDMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
            skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(str(path))  # fmt: skip
    return path


@pytest.fixture(scope="session")
def pipeline(folder: Path) -> Any:
    from diffusers import StableDiffusionPipeline

    return pipelines.place(pipelines.load(StableDiffusionPipeline, folder), "cpu")


@pytest.fixture(autouse=True)
def no_gradients() -> Any:
    with torch.no_grad():
        yield


@pytest.fixture
def sampler(pipeline: Any) -> Sampler:
    return Sampler(pipeline, "cpu", steps=10, guidance=7.5)
