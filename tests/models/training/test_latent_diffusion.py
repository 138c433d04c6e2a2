"""What the latent diffusion recipes show to their networks, and what they ship."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import (
    EulerAncestralDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionControlNetPipeline,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionPipeline,
    UniPCMultistepScheduler,
)
from torch import nn

from editar_bench.errors import UserError
from models.adapters.assembling import load_assembled
from models.training import controlnet_recipe, instruct_pix2pix_recipe, stable_diffusion_recipe
from models.training.controlnet_recipe import ControlNetRecipe
from models.training.instruct_pix2pix_recipe import InstructPix2PixRecipe
from models.training.latent_diffusion import NOISE, Averaged, Frozen, LatentCache, drop_texts
from models.training.recipe import Clock
from models.training.stable_diffusion_recipe import StableDiffusionRecipe
from models.weights_manifest import checked, partners, write_manifest

NAMES = ("vae", "text")


@pytest.fixture
def instruct(bank, weights):
    return InstructPix2PixRecipe(bank, bank, weights, batch_size=3)


@pytest.fixture
def stable(bank, weights):
    return StableDiffusionRecipe(bank, bank, weights, batch_size=3)


@pytest.fixture
def control(bank, weights):
    return ControlNetRecipe("edge", bank, bank, weights, batch_size=3)


def signed(bank):
    return torch.from_numpy(bank.maps["rgb"]).permute(0, 3, 1, 2) / 127.5 - 1


class Blind(nn.Module):
    """Guesses zeros, and remembers what it was shown."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen = {}

    def forward(self, inputs, steps, features):
        self.seen.update(inputs=inputs, steps=steps, features=features)
        return SimpleNamespace(sample=0 * inputs[:, :4] + self.weight)


@pytest.fixture
def hardly_noisy():
    """A schedule that shows the latents themselves."""

    def quieten(recipe):
        recipe.frozen.noise.alphas_cumprod = torch.ones(1000)

    return quieten


def test_joint_dropout_has_the_published_shares():
    n = 40000
    texts, sources = instruct_pix2pix_recipe.drop_conditions(
        ["text"] * n, torch.ones(n, 1, 1, 1), torch.Generator().manual_seed(0)
    )
    no_text = np.array([text == "" for text in texts])
    no_image = (sources.flatten() == 0).numpy()
    for case in (no_text & ~no_image, ~no_text & no_image, no_text & no_image):
        assert case.mean() == pytest.approx(0.05, abs=0.005)


def test_dropped_captions_have_their_share():
    texts = drop_texts(["text"] * 20000, 0.1, torch.Generator().manual_seed(0))
    assert texts.count("") / 20000 == pytest.approx(0.1, abs=0.01)
    assert set(texts) == {"", "text"}


def test_what_is_wanted_of_noisy_latents_gives_them_back(weights):
    frozen = Frozen(weights)
    latents = torch.randn(4, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    steps = torch.tensor([0, 300, 700, 999])
    noisy, wanted = frozen.noised(latents, steps, torch.Generator().manual_seed(1))
    for i, step in enumerate(steps):
        again = frozen.noise.step(wanted[i], step, noisy[i]).pred_original_sample
        assert torch.allclose(again, latents[i].clamp(-1, 1), atol=1e-3)


def test_instruct_pix2pix_sees_noisy_scaled_targets_and_plain_sources(
    bank, instruct, hardly_noisy, monkeypatch
):
    instruct.frozen.vae.register_to_config(scaling_factor=0.25)
    hardly_noisy(instruct)
    module = instruct_pix2pix_recipe
    monkeypatch.setattr(module, "drop_conditions", lambda texts, sources, _: (texts, sources))
    monkeypatch.setattr(module, "pick", lambda *_: np.array([5, 2, 5]))
    network = Averaged(Blind())
    instruct.loss(network, Clock(), torch.Generator().manual_seed(0))
    seen = network.network.seen
    edits = instruct._edits[[5, 2, 5]]
    with torch.no_grad():
        source = instruct.frozen.vae.encode(signed(bank)[2 * edits]).latent_dist
        target = instruct.frozen.vae.encode(signed(bank)[2 * edits + 1]).latent_dist
    assert torch.allclose(seen["inputs"][:, 4:], source.mode(), atol=2e-3)
    away = (seen["inputs"][:, :4] / 0.25 - target.mean) / target.std
    assert abs(float(away.mean())) < 0.1
    assert float(away.std()) == pytest.approx(1, abs=0.1)
    texts = [bank.texts[i]["instruction"] for i in edits]
    assert torch.equal(seen["features"], instruct.frozen.text.encode(texts))


def test_stable_diffusion_sees_pictures_of_its_captions(bank, stable, hardly_noisy, monkeypatch):
    hardly_noisy(stable)
    rows = np.array([5, 2, 9])
    monkeypatch.setattr(stable_diffusion_recipe, "pick", lambda *_: rows)
    monkeypatch.setattr(stable_diffusion_recipe, "DROPOUT", 0.0)
    network = Averaged(Blind())
    stable.loss(network, Clock(), torch.Generator().manual_seed(0))
    seen = network.network.seen
    with torch.no_grad():
        posterior = stable.frozen.vae.encode(signed(bank)[rows]).latent_dist
    away = (seen["inputs"] / stable.frozen.vae.config.scaling_factor - posterior.mean) / (
        posterior.std
    )
    assert abs(float(away.mean())) < 0.1
    assert float(away.std()) == pytest.approx(1, abs=0.1)
    texts = [bank.texts[row // 2]["captions"][row % 2] for row in rows]
    assert torch.equal(seen["features"], stable.frozen.text.encode(texts))


def test_controlnet_sees_conditions_from_0_to_1_and_starts_as_its_base(bank, control):
    rows = np.array([3, 8])
    shown = control._conditions(bank, rows)
    assert np.array_equal(shown[:, 0].numpy() * 255, bank.maps["edge"][rows])
    module = control.build()
    latents = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    texts, steps = ["a", "b"], torch.tensor([100, 900])
    with torch.no_grad():
        guess = control._predict(module.network, texts, shown, latents, steps)
        plain = control.base(latents, steps, control.frozen.text.encode(texts)).sample
        assert torch.allclose(guess, plain, atol=1e-6)
        for name, weight in module.network.named_parameters():
            if "controlnet_" in name:
                nn.init.normal_(weight, std=0.1)
        steered = control._predict(module.network, texts, shown, latents, steps)
        other = control._predict(module.network, texts, 1 - shown, latents, steps)
    assert not torch.allclose(steered, plain, atol=1e-3)
    assert not torch.allclose(steered, other, atol=1e-4)


def test_controlnet_leaves_its_base_alone(control):
    module = control.build()
    before = {k: v.clone() for k, v in control.base.state_dict().items()}
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    control.loss(module, Clock(), torch.Generator().manual_seed(0))[0].backward()
    optimizer.step()
    assert all(torch.equal(v, before[k]) for k, v in control.base.state_dict().items())
    assert all(p.grad is None for p in control.base.parameters())


def test_controlnet_without_its_base(bank, weights, tmp_path):
    for name in NAMES:
        (tmp_path / name).symlink_to(weights / name)
    with pytest.raises(UserError, match="train stable-diffusion"):
        ControlNetRecipe("depth", bank, bank, tmp_path)


def test_latents_are_encoded_once(bank, weights, monkeypatch):
    vae = Frozen(weights).vae
    cache = LatentCache(bank, vae)
    rows = np.array([3, 0, 3])
    mean, std = cache(rows)
    with torch.no_grad():
        posterior = vae.encode(signed(bank)[rows]).latent_dist
    assert torch.allclose(mean, posterior.mean, atol=1e-2)
    assert torch.allclose(std, posterior.std, rtol=1e-2, atol=1e-3)
    encoded = []
    encode = vae.encode
    monkeypatch.setattr(vae, "encode", lambda x: encoded.append(len(x)) or encode(x))
    assert torch.equal(cache(rows)[0], mean)
    cache(np.array([0, 1]))
    assert encoded == [1]


def test_average_follows_slowly_and_is_part_of_the_state(stable):
    module = stable.build()
    start = module.average_P.clone()
    with torch.no_grad():
        for parameter in module.network.parameters():
            parameter += 1
    module.update()
    assert torch.allclose(module.average_P, start + 1 - 2 / 11, atol=1e-5)
    module.updates.fill_(10**6)
    before = module.average_P.clone()
    module.update()
    assert torch.allclose(module.average_P, before + 1e-3 * 2 / 11, atol=1e-6)
    assert {"average_P", "updates"} <= module.state_dict().keys()
    other = stable.build()
    other.load_state_dict(module.state_dict())
    averaged = nn.utils.parameters_to_vector(other.averaged().parameters())
    assert torch.equal(averaged, module.average_P)
    assert not torch.equal(averaged, nn.utils.parameters_to_vector(other.network.parameters()))


@pytest.mark.parametrize("name", ["instruct", "stable", "control"])
def test_training_goes_on_from_what_was_shipped(name, request, tmp_path):
    recipe = request.getfixturevalue(name)
    torch.manual_seed(0)
    module = recipe.build().eval()
    recipe.export(module, tmp_path / "shipped")
    fresh = recipe.build()
    recipe.load(fresh, tmp_path / "shipped")
    assert (fresh.average_P - module.average_P).abs().max() < 1e-3
    assert torch.equal(nn.utils.parameters_to_vector(fresh.network.parameters()), fresh.average_P)
    figures = recipe.validate(fresh)
    assert np.isfinite(list(figures.values())).all()
    assert recipe.sheet(fresh).ndim == 3


def test_instruct_pix2pix_ships_a_whole_pipeline(bank, instruct, tmp_path):
    torch.manual_seed(0)
    module = instruct.build().eval()
    instruct.export(module, tmp_path)
    assert (tmp_path / "tokenizer" / "spiece.model").is_file()
    pipeline = StableDiffusionInstructPix2PixPipeline.from_pretrained(
        str(tmp_path), local_files_only=True, torch_dtype=torch.float32
    )
    assert isinstance(pipeline.scheduler, EulerAncestralDiscreteScheduler)
    edits = instruct._validation_edits[:3]
    made = instruct._sample(module.averaged(), edits).astype(int)
    again = pipeline(
        prompt=[bank.texts[i]["instruction"] for i in edits],
        image=bank.maps["rgb"][2 * edits].astype(np.float32) / 255,
        num_inference_steps=10,
        guidance_scale=1.5,
        image_guidance_scale=1.5,
        generator=[torch.Generator().manual_seed(i) for i in range(3)],
        output_type="np",
    ).images
    assert np.abs(made - again * 255).mean() < 2  # half precision on disk


@pytest.fixture
def shipped(stable, control, weights, tmp_path):
    """A weights folder with the shared networks, a Stable Diffusion and its ControlNet."""
    import shutil

    for name in (*NAMES, "stable-diffusion"):
        shutil.copytree(weights / name, tmp_path / name)
    torch.manual_seed(0)
    module = control.build()
    with torch.no_grad():  # or else it steers nothing
        for name, weight in module.network.named_parameters():
            if "controlnet_" in name:
                nn.init.normal_(weight, std=0.1)
    control.export(Averaged(module.network), tmp_path / "controlnet-edge")
    write_manifest(tmp_path)
    return tmp_path


def test_shared_networks_are_shipped_once_and_found(bank, shipped, control):
    folder = shipped / "controlnet-edge"
    assert {p.name for p in folder.iterdir()} == {"controlnet", "scheduler", "config.json"}
    config = json.loads((folder / "config.json").read_text())
    assert config.items() >= partners(shipped, (*NAMES, "unet")).items()
    pipeline = load_assembled(StableDiffusionControlNetPipeline, UniPCMultistepScheduler, folder)
    assert pipeline.scheduler.config.prediction_type == NOISE["prediction_type"]
    rows = np.arange(3)
    pipeline.set_progress_bar_config(disable=True)
    again = pipeline(
        prompt=[bank.texts[row // 2]["captions"][row % 2] for row in rows],
        image=control._conditions(bank, rows),
        num_inference_steps=controlnet_recipe._STEPS,
        guidance_scale=controlnet_recipe._GUIDANCE,
        generator=[torch.Generator().manual_seed(i) for i in range(3)],
        output_type="np",
    ).images
    made = control._sample(pipeline.controlnet, rows)
    assert np.abs(made - again * 255).max() < 2
    base = load_assembled(StableDiffusionPipeline, PNDMScheduler, shipped / "stable-diffusion")
    assert base.scheduler.config.steps_offset == 1


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("vae/diffusion_pytorch_model.safetensors", "another autoencoder"),
        ("stable-diffusion/unet/diffusion_pytorch_model.safetensors", "another Stable Diffusion"),
        ("text/model.safetensors", "another text encoder"),
    ],
)
def test_a_controlnet_beside_other_networks_is_refused(shipped, path, message):
    from safetensors.torch import load_file, save_file

    names = ["controlnet-edge", "stable-diffusion", "vae", "text"]
    assert len(checked(shipped, names)) == 14
    tensors = load_file(shipped / path)
    name = next(iter(tensors))
    save_file(tensors | {name: tensors[name] + 1}, shipped / path, {"format": "pt"})
    write_manifest(shipped)
    with pytest.raises(UserError, match=f"controlnet-edge were trained with {message}"):
        checked(shipped, names)
