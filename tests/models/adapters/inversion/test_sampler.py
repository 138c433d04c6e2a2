"""The source goes to its noise and back."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from diffusers import StableDiffusionInstructPix2PixPipeline, StableDiffusionPipeline
from PIL import Image

from editar_bench.errors import UserError
from models.adapters.inversion.direct import DirectInversion
from models.adapters.inversion.sampler import Sampler
from models.adapters.pipelines import load
from tests.models.adapters.inversion.conftest import SIDE, SOURCE, TARGET
from tests.models.making import noise


class Watching:
    """No editing; keeps what it was called with."""

    def __init__(self):
        self.calls, self.seen = [], []

    def before(self, step):
        self.calls.append(("before", step))

    def after(self, step, latents):
        self.calls.append(("after", step))
        self.seen.append(latents)
        return latents


@pytest.fixture(scope="module")
def clean():
    return torch.randn(1, 4, SIDE // 2, SIDE // 2, generator=torch.manual_seed(0))


def loss_of_the_way(pipeline, monkeypatch, steps):
    sampler = Sampler(pipeline, "cpu", steps, guidance=1.0)
    noise = sampler.noise  # a random network changes its mind more quickly than a trained one
    monkeypatch.setattr(sampler, "noise", lambda *arguments: 0.1 * noise(*arguments))
    text = sampler.embed([SOURCE])
    clean = torch.randn(1, 4, 16, 16, generator=torch.manual_seed(0))
    path = sampler.invert(clean, text)
    assert len(path) == steps + 1 and path[0] is clean
    back = sampler.resample(path[-1], text)
    assert len(back) == steps + 1 and back[-1] is path[-1]
    return float((back[0] - clean).abs().max() / clean.abs().max())


def test_more_steps_lose_less_of_the_source(pipelines, monkeypatch):
    small = load(StableDiffusionPipeline, pipelines / "sd")
    few, some, many = (loss_of_the_way(small, monkeypatch, steps) for steps in (5, 20, 60))
    assert many < some < few
    assert many < 0.02


def test_sampling_without_guidance_is_the_way_back(pipeline, clean):
    sampler = Sampler(pipeline, "cpu", 3, guidance=1.0)
    texts = sampler.embed(["", SOURCE])
    watching = Watching()
    sampled = sampler.denoise(clean, [texts[:1]] * 3, texts[1:], watching)
    assert torch.allclose(sampled, sampler.resample(clean, texts[1:])[0], atol=1e-3)
    assert watching.calls == [(when, i) for i in range(3) for when in ("before", "after")]


def test_an_inversion_step_undoes_a_sampling_step_of_equal_noise(sampler, clean):
    for later, earlier in zip(sampler.times, [*sampler.times[1:], None], strict=True):
        some = torch.randn(clean.shape, generator=torch.manual_seed(later))
        noisier = sampler.inverse.step(some, later, clean).prev_sample
        assert torch.allclose(sampler.step(some, later, noisier), clean, atol=1e-4), earlier


def test_times_and_schedule_are_the_protocols(pipeline):
    sampler = Sampler(pipeline, "cpu", 50, 7.5)  # the folder was saved with another sampler
    assert sampler.times == list(range(981, 0, -20))
    assert sampler.inverse.timesteps.tolist() == sampler.times[::-1]
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    assert torch.allclose(sampler.ddim.alphas_cumprod, torch.cumprod(1 - betas, 0), atol=1e-6)
    assert sampler.ddim.final_alpha_cumprod == sampler.ddim.alphas_cumprod[0]
    assert not sampler.ddim.config.clip_sample


def test_as_many_steps_as_noise_levels_stay_within_them(pipeline):
    sampler = Sampler(pipeline, "cpu", 1000, guidance=1.0)
    assert sampler.times == list(range(999, -1, -1))
    latents = torch.zeros(1, 4, 2, 2)
    assert sampler.step(latents, sampler.times[0], latents).isfinite().all()
    assert sampler.inverse.step(latents, sampler.times[0], latents).prev_sample.isfinite().all()


def test_the_schedule_holds_where_the_folder_says_nothing_of_it(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    config = {"_class_name": "DDIMScheduler", **betas}
    (copy / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    sampler = Sampler(load(StableDiffusionPipeline, copy), "cpu", 50, 7.5)
    assert sampler.times == list(range(981, 0, -20))
    for scheduler in (sampler.ddim, sampler.inverse):
        assert not scheduler.config.clip_sample and not scheduler.config.set_alpha_to_one
        assert torch.allclose(scheduler.betas[0], torch.tensor(0.00085))


def test_guidance_leads_away_from_the_null_text(sampler, clean):
    null, text = sampler.embed(["", SOURCE]).split(1)
    without, with_text = sampler.noise(clean, 500, null), sampler.noise(clean, 500, text)
    guided = sampler.guided_noise(clean, 500, null, text)
    assert torch.allclose(guided, without + 7.5 * (with_text - without), atol=1e-4)
    assert not torch.allclose(guided, with_text, atol=1e-2)


def test_pictures_become_the_mean_of_their_latents(sampler, pipeline):
    picture = noise(1, SIDE)
    latents = sampler.encode(Image.fromarray(picture))
    pixels = torch.from_numpy(picture).float().permute(2, 0, 1)[None] / 127.5 - 1
    mean = pipeline.vae.encode(pixels).latent_dist.mean
    assert torch.allclose(latents, mean * pipeline.vae.config.scaling_factor, atol=1e-5)
    assert torch.allclose(sampler.decode(latents), pipeline.vae.decode(mean).sample, atol=1e-4)
    assert sampler.side == SIDE


def test_direct_inversion_keeps_the_source_on_its_path_exactly(sampler, clean):
    texts = sampler.embed(["", SOURCE, TARGET])
    path = sampler.invert(clean, texts[1:2])
    plain, direct = Watching(), Watching()
    nulls = [texts[:1]] * len(sampler.times)
    sampler.denoise(path[-1], nulls, texts[1:], plain)
    sampler.denoise(path[-1], nulls, texts[1:], DirectInversion(direct, path))
    assert direct.calls == plain.calls
    for seen, wanted in zip(direct.seen, path[-2::-1], strict=True):
        assert torch.equal(seen[:1], wanted)
    assert not torch.allclose(plain.seen[-1][0], clean[0], atol=1e-2)  # guidance loses the source
    for one, other in zip(plain.seen, direct.seen, strict=True):  # and nothing else is touched
        assert torch.allclose(one[1:], other[1:], atol=1e-4)


def test_another_kind_of_network_is_refused(pipelines):
    loaded = load(StableDiffusionInstructPix2PixPipeline, pipelines / "ip2p")
    with pytest.raises(UserError, match="takes 8 channels"):
        Sampler(loaded, "cpu", 2, 7.5)
