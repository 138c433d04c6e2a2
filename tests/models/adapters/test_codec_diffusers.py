"""The rows that bound the diffusion models, with tiny autoencoders in the published layouts."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from editar_bench.contracts import Context
from editar_bench.errors import BadSettings, MissingWeights, UserError
from editar_bench.model_names import create_model, parse_label, parse_models
from editar_bench.types import How, Task
from models.adapters import hub
from models.adapters.any_pipeline import AnyPipeline
from models.adapters.codec_diffusers import CodecAmused, CodecDiffusers, CodecSd
from models.adapters.stable_diffusion import StableDiffusion
from models.editar.pictures import fit, to_pictures, to_tensor
from tests.models.adapters.test_released_diffusion import SYSTEMS
from tests.models.adapters.tiny import SIDE
from tests.models.making import example, noise


def sample(i, size=SIDE, **changes):
    return example(i, **({"condition": noise(i, size), "target": noise(100 + i, size)} | changes))


def pictures(model, batch):
    model.setup(Context(device="cpu", examples=batch))
    return [made.image for made in model.generate(batch, [0] * len(batch))]


def test_it_is_the_truth_through_stable_diffusions_autoencoder(pipelines):
    from diffusers import AutoencoderKL

    batch = [sample(0), sample(1)]
    vae = AutoencoderKL.from_pretrained(str(pipelines / "sd" / "vae"))
    with torch.no_grad():
        moments = vae.encode(to_tensor([e.target for e in batch]))
        expected = to_pictures(vae.decode(moments.latent_dist.mean).sample)
    made = pictures(CodecSd(str(pipelines / "sd"), SIDE), batch)
    assert all(map(np.array_equal, made, expected))
    assert not np.array_equal(made[0], batch[0].target)
    (alone,) = pictures(CodecSd(str(pipelines / "sd"), SIDE), batch[1:])
    assert np.abs(made[1].astype(int) - alone).max() <= 2


def test_codes_of_amused_are_looked_up_as_its_pipeline_does(pipelines):
    from diffusers import AmusedImg2ImgPipeline
    from PIL import Image

    pipeline = AmusedImg2ImgPipeline.from_pretrained(str(pipelines / "amused"))
    picture = sample(0).target
    image = pipeline.image_processor.preprocess(Image.fromarray(picture))
    codec = pipeline.vqvae
    with torch.no_grad():
        latents = codec.encode(image).latents
        codes = codec.quantize(latents)[2][2].reshape(1, *latents.shape[2:])
        shape = (1, *latents.shape[2:], codec.config.latent_channels)
        drawn = codec.decode(codes, force_not_quantize=True, shape=shape).sample.clip(0, 1)
    (expected,) = pipeline.image_processor.postprocess(drawn, "np")
    (made,) = pictures(CodecAmused(str(pipelines / "amused"), SIDE), [sample(0)])
    assert np.abs(made - (expected * 255).round()).max() <= 1


def test_a_video_autoencoder_takes_a_picture_as_a_film_of_one_frame(tmp_path):
    from diffusers import AutoencoderKLQwenImage

    AutoencoderKLQwenImage(
        base_dim=8, z_dim=4, dim_mult=[1, 2], num_res_blocks=1, temperal_downsample=[False],
        latents_mean=[0.0] * 4, latents_std=[1.0] * 4,
    ).save_pretrained(str(tmp_path / "vae"))  # fmt: skip
    first, second = pictures(CodecDiffusers(str(tmp_path), SIDE), [sample(0), sample(1)])
    assert first.shape == (SIDE, SIDE, 3) and not np.array_equal(first, second)


def test_other_sizes_go_there_and_back(pipelines):
    model = CodecSd(str(pipelines / "sd"), SIDE)
    large = sample(3, 40)
    small = replace(large, condition=noise(3, SIDE), target=fit(large.target, SIDE))
    (there_and_back,), (there,) = pictures(model, [large]), pictures(model, [small])
    assert np.array_equal(there_and_back, fit(there, 40))


def test_rows_are_references_of_every_task(pipelines):
    model = CodecSd(str(pipelines / "sd"))
    how = {task: capability.how for task, capability in model.capabilities.items()}
    assert how == dict.fromkeys(Task, How.CONSTRUCTION)
    assert (model.kind, model.settings, model.needs_truth) == (
        "reference", {"resolution": 512}, True,
    )  # fmt: skip
    assert sorted(model.fingerprint) == [
        "codec/config.json", "codec/diffusion_pytorch_model.safetensors",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["sd", "controlnet-edge", "t2i-depth", "ip2p", "amused"])
def test_every_model_names_the_row_of_its_own_decoder(pipelines, name):
    model = SYSTEMS[name][0](pipelines)
    label, ceiling = create_model(parse_label(model.ceiling))
    assert label == model.ceiling == ceiling.ceiling
    assert label.endswith(f",weights={pipelines / ('sd' if '-' in name else name)}")
    weights = {digest for file, digest in model.fingerprint.items()}
    assert set(ceiling.fingerprint.values()) <= weights
    assert ceiling.settings["resolution"] == model.settings["resolution"] == SIDE


@pytest.mark.parametrize(
    ("name", "row"),
    [("sd", "codec-diffusers"), ("kontext", "codec-diffusers"), ("amused", "codec-amused")],
)
def test_so_does_any_pipeline(pipelines, name, row):
    model = AnyPipeline(str(pipelines / name), resolution=SIDE)
    assert model.ceiling == f"{row}:resolution={SIDE},weights={pipelines / name}"
    label, ceiling = create_model(parse_label(model.ceiling))
    assert label == model.ceiling
    assert set(ceiling.fingerprint.values()) <= set(model.fingerprint.values())


def test_published_names_are_short(monkeypatch, pipelines):
    found = hub.find(hub.Source(place=str(pipelines / "sd"), pipeline=True), "sd")
    monkeypatch.setattr(hub, "find", lambda source, model: found)
    assert StableDiffusion().ceiling == "codec-sd"
    assert StableDiffusion(resolution=768).ceiling == "codec-sd:resolution=768"
    assert CodecSd().ceiling == "codec-sd"
    (ref,) = parse_models("instruct-pix2pix")
    assert create_model(ref)[1].ceiling == "codec-sd:weights=timbrooks/instruct-pix2pix"


def test_what_cannot_be_made_is_one_sentence(pipelines, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.delenv("EDITAR_BENCH_WEIGHTS", raising=False)
    with pytest.raises(
        MissingWeights, match=r"v1-5/vae is not .* prepare --model codec-sd:weights="
    ):
        CodecSd()
    with pytest.raises(MissingWeights, match="codec-diffusers:weights=owner/name"):
        CodecDiffusers()
    with pytest.raises(BadSettings, match="resolution is 30 and must be a multiple of 8"):
        create_model(parse_label(f"codec-sd:weights={pipelines / 'sd'},resolution=30"))
    model = CodecSd(str(pipelines / "sd"), SIDE)
    with pytest.raises(UserError, match="edit-0 has no true picture"):
        pictures(model, [sample(0, target=None)])
    with pytest.raises(UserError, match="codec-sd makes square pictures, .* is 24x16"):
        pictures(model, [sample(1, condition=np.zeros((16, 24, 3), np.uint8))])


@pytest.mark.parametrize("named", ["MyCodec", "StableDiffusionPipeline", "utils", 5])
def test_a_class_that_is_no_network_of_diffusers_is_named(pipelines, tmp_path, named):
    folder = shutil.copytree(pipelines / "sd", tmp_path / "copy")
    path = folder / "vae" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"_class_name": named}))
    model = CodecSd(str(folder), SIDE)
    with pytest.raises(UserError, match="is no autoencoder of diffusers .* never run"):
        pictures(model, [sample(0)])


def test_prepare_fetches_the_autoencoder_alone(monkeypatch):
    asked = []
    monkeypatch.setattr(hub, "fetch", lambda source, model: asked.append((source.path, model)))
    CodecSd.prepare()
    CodecAmused.prepare("me/mine")
    assert asked == [
        ("stable-diffusion-v1-5/stable-diffusion-v1-5/vae",
         "codec-sd:weights=stable-diffusion-v1-5/stable-diffusion-v1-5"),
        ("me/mine/vqvae", "codec-amused:weights=me/mine"),
    ]  # fmt: skip
