"""Every released diffusion system behind its adapter, as a tiny random pipeline saved in the real format."""

from __future__ import annotations

import json
import pickle
import shutil

import numpy as np
import pytest
import torch

from editar_bench.contracts import Context
from editar_bench.errors import MissingWeights, UserError
from editar_bench.model_names import create_model, parse_label
from editar_bench.types import How, Task
from models.adapters import controlnet, diffusion
from models.adapters.amused import Amused
from models.adapters.controlnet import ControlNet, ControlNet10, ControlNetPlusPlus
from models.adapters.instruction_editors import InstructPix2Pix, MagicBrush
from models.adapters.stable_diffusion import StableDiffusion
from models.adapters.t2i_adapter import T2IAdapter
from tests.models.making import example, noise

SIDE = 32
SMALL = {"steps": 2, "resolution": SIDE}
BLACK, WHITE = (np.full((SIDE, SIDE, 3), value, np.uint8) for value in (0, 255))


def batch(task, size=SIDE):
    """Three samples; label maps have few colors, edge maps two."""
    pictures = [noise(i, size) for i in range(3)]
    if task in (Task.EDGE, Task.SEGMENTATION):
        pictures = [(p > 127).astype(np.uint8) * 255 for p in pictures]
    if task is Task.EDGE:
        pictures = [p[..., :1].repeat(3, axis=2) for p in pictures]
    caption = ["a red cube", "two green balls on a plain", "a blue cone"]
    return [
        example(i, task, condition=pictures[i], prompt=f"paint {i}", target_caption=caption[i])
        for i in range(3)
    ]


CONTROL = (Task.DEPTH, Task.EDGE, Task.SEGMENTATION)
SYSTEMS = {
    "sd": (lambda root: StableDiffusion(str(root / "sd"), strength=0.9, **SMALL), Task.EDIT),
    "sd-target": (
        lambda root: StableDiffusion(str(root / "sd"), prompt="target", strength=0.9, **SMALL),
        Task.EDIT,
    ),
    "ip2p": (lambda root: InstructPix2Pix(str(root / "ip2p"), **SMALL), Task.EDIT),
    "amused": (
        lambda root: Amused(str(root / "amused"), strength=0.9, **(SMALL | {"steps": 4})),
        Task.EDIT,
    ),
    "controlnet-edit": (lambda root: made_controlnet(root), Task.EDIT),
    **{f"controlnet-{t}": (lambda root: made_controlnet(root), t) for t in CONTROL},
    **{f"t2i-{t}": (lambda root: made_t2i(root), t) for t in CONTROL},
}


def made_controlnet(root, kind=ControlNet, **changes):
    networks = {str(task): str(root / "controlnet") for task in kind.networks}
    return kind(**({"base": str(root / "sd"), **networks, **SMALL} | changes))


def made_t2i(root, **changes):
    return T2IAdapter(
        base=str(root / "sd"),
        segmentation_base=str(root / "sd"),
        depth=str(root / "t2i-3"),
        segmentation=str(root / "t2i-3"),
        edge=str(root / "t2i-1"),
        **(SMALL | changes),
    )


@pytest.fixture(scope="module")
def ready(pipelines):
    """Loaded systems by name, kept for the tests of this file."""
    loaded = {}

    def get(name):
        if name not in loaded:
            make, task = SYSTEMS[name]
            model = make(pipelines)
            model.setup(Context(device="cpu", examples=batch(task)))
            loaded[name] = (model, task)
        return loaded[name]

    return get


def pictures(model, samples, seeds):
    return np.stack([g.image for g in model.generate(samples, seeds)]).astype(int)


@pytest.mark.parametrize("name", SYSTEMS)
def test_pictures_follow_seed_condition_and_prompt_alone(ready, name):
    model, task = ready(name)
    samples = batch(task)
    first = pictures(model, samples, [1, 2, 2**63 - 1])
    assert first.shape == (3, SIDE, SIDE, 3)
    again = pictures(model, [samples[2], samples[0]], [2**63 - 1, 1])  # other company, other order
    assert np.abs(again - first[[2, 0]]).max() <= 2
    assert (pictures(model, samples[:1], [7]) != first[0]).any()
    other = [example(0, task, condition=samples[1].condition, prompt=samples[0].prompt,
                     target_caption=samples[0].target_caption)]  # fmt: skip
    assert np.abs(pictures(model, other, [1]) - first[0]).max() > 2
    other = [example(0, task, condition=samples[0].condition, prompt="xyz !!! 0123456789",
                     target_caption="xyz !!! 0123456789")]  # fmt: skip
    assert (pictures(model, other, [1]) != first[0]).any()


@pytest.mark.parametrize("name", ["sd", "controlnet-edge", "t2i-depth", "ip2p", "amused"])
def test_models_can_be_sent_to_a_worker(pipelines, name):
    model = SYSTEMS[name][0](pipelines)
    sent = pickle.loads(pickle.dumps(model))
    assert (sent.settings, sent.fingerprint) == (model.settings, model.fingerprint)


def test_half_precision_reaches_the_networks(pipelines):
    model = StableDiffusion(str(pipelines / "sd"), precision="bfloat16", **SMALL)
    samples = batch(Task.EDIT)
    model.setup(Context(device="cpu", examples=samples))
    assert {p.dtype for p in model._pipeline.unet.parameters()} == {torch.bfloat16}
    half = pictures(model, samples[:1], [1])
    model = StableDiffusion(str(pipelines / "sd"), **SMALL)
    model.setup(Context(device="cpu", examples=samples))
    assert np.abs(pictures(model, samples[:1], [1]) - half).mean() < 20  # 8 bits of mantissa


def test_text_mode_sees_no_picture(pipelines):
    model = StableDiffusion(str(pipelines / "sd"), mode="text", **SMALL)
    samples = batch(Task.DEPTH)
    model.setup(Context(device="cpu", examples=samples))
    swapped = [example(0, Task.DEPTH, prompt=samples[0].prompt, condition=samples[1].condition)]
    first = pictures(model, samples[:1], [1])
    assert np.array_equal(pictures(model, swapped, [1]), first)
    assert {c.how for c in model.capabilities.values()} == {How.ZERO_SHOT}
    assert model.settings["prompt"] == "target"


@pytest.fixture
def call(monkeypatch):
    """What a loaded model's pipeline is called with, and the size of pictures it was asked for."""

    def spy(model):
        seen = {}
        kind = type(model._pipeline)

        def fake(self, **arguments):
            seen.update(arguments)
            prompts = arguments["prompt"]
            return type("Made", (), {"images": np.zeros((len(prompts), SIDE, SIDE, 3))})

        monkeypatch.setattr(kind, "__call__", fake)
        return seen

    return spy


def loaded(model, task):
    model.setup(Context(device="cpu", examples=batch(task)))
    return model


def generate(model, task, call):
    seen = call(loaded(model, task))
    model.generate(batch(task), [1, 2, 3])
    assert [g.initial_seed() for g in seen["generator"]] == [1, 2, 3]
    assert {g.device.type for g in seen["generator"]} == {"cpu"}
    return seen


@pytest.mark.parametrize(
    ("kind", "protocol", "sampler", "expected", "prompt"),
    [
        (
            ControlNet,
            "benchmark",
            "UniPCMultistepScheduler",
            (20, 7.5, "worst quality, low quality", 1.0),
            "paint 0",
        ),
        (
            ControlNet,
            "author",
            "DDIMScheduler",
            (20, 9.0, "lowres, bad anatomy, bad hands, cropped, worst quality", 1.0),
            "paint 0, best quality",
        ),
        (
            ControlNet10,
            "author",
            "DDIMScheduler",
            (20, 9.0, controlnet.AUTHOR_1_0["negative"], 1.0),
            "paint 0, best quality, extremely detailed",
        ),
        (
            ControlNetPlusPlus,
            "benchmark",
            "UniPCMultistepScheduler",
            (20, 7.5, "worst quality, low quality", 1.0),
            "paint 0",
        ),
    ],
)
def test_controlnets_published_settings(pipelines, call, kind, protocol, sampler, expected, prompt):
    model = made_controlnet(pipelines, kind, protocol=protocol, steps=None)
    seen = generate(model, Task.EDGE, call)
    assert type(model._pipeline.scheduler).__name__ == sampler
    assert (
        seen["num_inference_steps"],
        seen["guidance_scale"],
        seen["negative_prompt"][0],
        seen["controlnet_conditioning_scale"],
    ) == expected
    assert seen["eta"] == (1.0 if (kind, protocol) == (ControlNet, "author") else 0.0)
    assert seen["prompt"][0] == prompt
    assert model.settings["protocol"] == protocol


def test_controlnets_settings_can_be_overridden(pipelines, call):
    model = made_controlnet(pipelines, steps=50, guidance=9, negative="", protocol="author")
    seen = generate(model, Task.DEPTH, call)
    assert (seen["num_inference_steps"], seen["guidance_scale"]) == (50, 9.0)
    assert seen["negative_prompt"] == [""] * 3
    assert model.settings["sampler"] == "ddim"


@pytest.mark.parametrize(
    ("kind", "settings", "expected"),
    [
        (InstructPix2Pix, {}, (100, 7.5, 1.5)),
        (InstructPix2Pix, {"protocol": "pnpinversion"}, (50, 7.5, 1.5)),
        (InstructPix2Pix, {"protocol": "pnpinversion", "image_guidance": 2}, (50, 7.5, 2.0)),
        (MagicBrush, {}, (100, 7.5, 1.5)),
    ],
)
def test_instruction_editors_published_settings(pipelines, call, kind, settings, expected):
    model = kind(str(pipelines / "ip2p"), resolution=SIDE, **settings)
    seen = generate(model, Task.EDIT, call)
    names = ("num_inference_steps", "guidance_scale", "image_guidance_scale")
    assert tuple(seen[name] for name in names) == expected
    assert type(model._pipeline.scheduler).__name__ == "EulerAncestralDiscreteScheduler"
    assert seen["prompt"] == ["paint 0", "paint 1", "paint 2"]


def test_stable_diffusions_settings_and_texts(pipelines, call):
    model = StableDiffusion(str(pipelines / "sd"), resolution=SIDE)
    seen = generate(model, Task.EDIT, call)
    assert (seen["num_inference_steps"], seen["guidance_scale"], seen["strength"]) == (50, 7.5, 0.8)
    assert seen["prompt"][0] == "paint 0"
    assert type(model._pipeline.scheduler).__name__ == "PNDMScheduler"
    model = StableDiffusion(str(pipelines / "sd"), prompt="target", resolution=SIDE)
    assert generate(model, Task.EDIT, call)["prompt"][0] == "a red cube"


def test_t2i_adapters_settings_and_gray_edges(pipelines, call):
    model = made_t2i(pipelines, steps=50)
    seen = generate(model, Task.EDGE, call)
    assert (seen["num_inference_steps"], seen["guidance_scale"]) == (50, 7.5)
    assert seen["adapter_conditioning_scale"] == 1.0
    assert {picture.mode for picture in seen["image"]} == {"L"}
    assert set(np.unique(np.asarray(seen["image"][0]))) == {0, 255}
    assert {p.mode for p in generate(model, Task.DEPTH, call)["image"]} == {"RGB"}


def test_amused_settings(pipelines, monkeypatch):
    model = loaded(Amused(str(pipelines / "amused"), resolution=SIDE), Task.EDIT)
    seen = []

    def fake(self, **arguments):
        seen.append(arguments)
        return type("Made", (), {"images": np.zeros((1, SIDE, SIDE, 3))})

    monkeypatch.setattr(type(model._pipeline), "__call__", fake)
    model.generate(batch(Task.EDIT), [1, 2, 3])
    assert [one["generator"].initial_seed() for one in seen] == [1, 2, 3]
    assert {one["num_inference_steps"] for one in seen} == {12}
    assert (seen[0]["guidance_scale"], seen[0]["strength"]) == (10.0, 0.5)


@pytest.mark.parametrize("task", CONTROL)
def test_the_network_reads_the_condition_as_it_is(pipelines, monkeypatch, task):
    """Near is bright, edges are white, colors are the palette's; in [0, 1]; one network a task."""
    model = loaded(made_controlnet(pipelines), task)
    seen = {}
    network = type(model._pipeline.controlnet)
    forward = network.forward

    def spy(self, *arguments, controlnet_cond, **others):
        seen["condition"] = controlnet_cond
        return forward(self, *arguments, controlnet_cond=controlnet_cond, **others)

    monkeypatch.setattr(network, "forward", spy)
    picture = BLACK.copy()
    picture[8:20, 4:12] = WHITE[0, 0] if task is not Task.SEGMENTATION else (180, 120, 120)
    model.generate([example(0, task, condition=picture)], [1])
    received = seen["condition"][-1].permute(1, 2, 0).numpy()
    assert np.array_equal((received * 255).round().astype(np.uint8), picture)


def test_one_network_a_task(pipelines, tmp_path):
    shutil.copytree(pipelines / "controlnet", tmp_path / "other")
    model = made_controlnet(pipelines, edge=str(tmp_path / "other"))
    assert loaded(model, Task.EDGE)._pipeline.controlnet is not None
    edges = model._pipeline
    assert loaded(model, Task.EDGE)._pipeline is edges
    assert loaded(model, Task.DEPTH)._pipeline is not edges
    assert model._parts(Task.DEPTH) == ("base", "depth")


def test_a_network_left_out_is_a_reason(pipelines):
    model = made_controlnet(pipelines, edit="none", depth="none")
    assert model.capabilities[Task.EDIT].how is How.NO
    assert "left out" in model.capabilities[Task.DEPTH].reason
    assert model.capabilities[Task.EDGE].how is How.NATIVE
    assert ControlNet.capabilities[Task.EDIT].how is How.NATIVE


@pytest.mark.parametrize(
    "kind", [StableDiffusion, Amused, InstructPix2Pix, MagicBrush, ControlNet, ControlNet10,
             ControlNetPlusPlus, T2IAdapter],
)  # fmt: skip
def test_missing_weights_are_one_sentence_with_the_command(kind, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.delenv("EDITAR_BENCH_WEIGHTS", raising=False)
    with pytest.raises(MissingWeights, match=rf"run `editar-bench prepare --model {kind.name}`"):
        kind()


def test_prepare_asks_for_every_source(pipelines, monkeypatch):
    asked = []
    monkeypatch.setattr(diffusion.hub, "fetch", lambda source, model: asked.append(source))
    ControlNetPlusPlus.prepare(base=str(pipelines / "sd"), depth="none")
    assert [(s.place, s.folder, s.pipeline) for s in asked] == [
        (str(pipelines / "sd"), "", True),
        ("limingcv/reward_controlnet", "checkpoints/canny/controlnet", False),
        (
            "limingcv/reward_controlnet",
            "checkpoints/ade20k_reward-model-UperNet-R50/checkpoint-5000/controlnet",
            False,
        ),
    ]


def test_fingerprint_names_base_and_networks(pipelines):
    names = {name.partition("/")[0] for name in made_controlnet(pipelines).fingerprint}
    assert names == {"base", "edit", "depth", "edge", "segmentation"}


def test_a_data_set_without_captions_of_the_result(pipelines):
    model = StableDiffusion(str(pipelines / "sd"), prompt="target", **SMALL)
    with pytest.raises(UserError, match="edit-0 has no caption of the edited picture"):
        model.setup(Context(device="cpu", examples=[example(0)]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps is 0 and must be from 1 to 1000"),
        ({"steps": 10**9}, "steps is 1000000000 and must be from 1 to 1000"),
        ({"guidance": "high"}, "guidance is 'high' and must be a number"),
        ({"sampler": "best"}, "sampler is 'best' and must be one of own, pndm"),
        ({"protocol": "mine"}, "protocol is 'mine' and must be one of benchmark, author"),
        ({"resolution": 500}, "must be a multiple of 8"),
        ({"resolution": 8 * 10**6}, "resolution is 8000000 and must be from 8 to 4096"),
        ({"base": 5}, r"5 is neither owner/name nor a folder; write a folder as \./5"),
        ({"precision": "half"}, "precision is 'half'"),
        ({"memory": 5}, "memory is 5"),
        ({"negative": 5}, "negative is 5 and must be text"),
        ({"eta": 2}, "from 0 to 1"),
    ],
)
def test_settings_are_checked(pipelines, settings, message):
    with pytest.raises(ValueError, match=message):
        made_controlnet(pipelines, **settings)


def test_a_network_for_a_task_that_the_family_lacks_is_refused(pipelines):
    with pytest.raises(ValueError, match=r"there is no controlnet-1.0 for edit"):
        made_controlnet(pipelines, ControlNet10, edit=str(pipelines / "controlnet"))
    assert (
        made_controlnet(pipelines, ControlNet10, edit="none").capabilities[Task.DEPTH].how
        is How.NATIVE
    )


def test_a_damaged_network_is_one_sentence(pipelines, tmp_path):
    shutil.copytree(pipelines / "controlnet", tmp_path / "net")
    path = tmp_path / "net" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    model = made_controlnet(pipelines, depth=str(tmp_path / "net"))
    with pytest.raises(UserError, match="cannot be loaded as a ControlNetModel"):
        loaded(model, Task.DEPTH)


def test_a_base_of_another_system_is_one_sentence(pipelines):
    for model, task in (
        (InstructPix2Pix(str(pipelines / "sd"), resolution=SIDE), Task.EDIT),
        (StableDiffusion(str(pipelines / "ip2p"), resolution=SIDE), Task.EDIT),
        (made_controlnet(pipelines, base=str(pipelines / "ip2p")), Task.DEPTH),
    ):
        with pytest.raises(UserError, match=f"'{model.name}' needs a UNet that takes"):
            loaded(model, task)


def test_a_guidance_of_one_keeps_that_of_the_picture(pipelines, call):
    model = InstructPix2Pix(str(pipelines / "ip2p"), guidance=1, resolution=SIDE)
    assert 1 < generate(model, Task.EDIT, call)["guidance_scale"] < 1.001
    with pytest.raises(ValueError, match="guidance"):
        InstructPix2Pix(str(pipelines / "ip2p"), guidance=0.5)


def test_a_strength_that_leaves_no_step_is_refused(pipelines):
    with pytest.raises(ValueError, match=r"strength is 0\.1 of 4 steps, which leaves none"):
        StableDiffusion(str(pipelines / "sd"), **(SMALL | {"strength": 0.1, "steps": 4}))
    blind = StableDiffusion(str(pipelines / "sd"), mode="text", strength=0.1, steps=4)
    assert blind.settings["mode"] == "text"  # which has no strength


@pytest.mark.parametrize(
    ("sampler", "first"),
    [("unipc", 999), ("euler-ancestral", 999), ("euler", 999), ("ddim", 951), ("pndm", 951)],
)
def test_samplers_are_the_published_ones_whatever_wrote_the_folder(pipelines, sampler, first):
    saved = json.loads((pipelines / "sd" / "scheduler" / "scheduler_config.json").read_text())
    assert saved["timestep_spacing"] == "leading" and "clip_sample" not in saved  # PNDM's defaults
    model = made_controlnet(pipelines, sampler=sampler)
    loaded(model, Task.DEPTH)
    scheduler = model._pipeline.scheduler
    scheduler.set_timesteps(20)
    assert scheduler.timesteps[0] == first
    assert not scheduler.config.get("clip_sample")


@pytest.mark.parametrize("sampler", diffusion.SAMPLERS)
def test_as_many_steps_as_noise_levels_stay_within_them(pipelines, sampler):
    model = made_controlnet(pipelines, sampler=sampler, steps=1000)
    loaded(model, Task.DEPTH)
    scheduler = model._pipeline.scheduler
    scheduler.set_timesteps(1000)
    assert scheduler.timesteps.max() == 999
    latents = torch.zeros(1, 4, 2, 2)
    for time in scheduler.timesteps[:2]:
        scheduler.scale_model_input(latents, time)
        latents = scheduler.step(latents, time, latents).prev_sample


def test_the_decoder_of_a_folder_with_a_number_for_a_name(pipelines, tmp_path, monkeypatch):
    shutil.copytree(pipelines / "sd", tmp_path / "5")
    monkeypatch.chdir(tmp_path)
    model = StableDiffusion("./5", **SMALL)
    label, decoder = create_model(parse_label(model.ceiling))
    assert label == model.ceiling == decoder.ceiling
