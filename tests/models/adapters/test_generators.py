"""The trained systems behind their adapters, with tiny random weights in the shipped formats."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from editar_bench.contracts import Context
from editar_bench.errors import MissingWeights, UserError
from editar_bench.types import How, Task
from models.adapters import editar, scenes_diffusion
from models.adapters.editar import EditarScenes
from models.adapters.scenes_diffusion import (
    ControlNetScenes,
    InstructPix2PixScenes,
    StableDiffusionScenes,
)
from models.editar.text import load_text_encoder
from models.weights_manifest import write_manifest
from tests.models.making import example, noise, write_editar, write_latent_diffusion

CAPTIONS = ("a red cube", "two green balls", "a blue cone on a plain")
TASKS = {  # one that the model can do
    EditarScenes: Task.EDIT,
    InstructPix2PixScenes: Task.EDIT,
    StableDiffusionScenes: Task.EDIT,
    ControlNetScenes: Task.SEGMENTATION,
}
SETTINGS = {
    EditarScenes: {"guidance": 2.0, "temperature": 1.0},
    InstructPix2PixScenes: {"steps": 2},
    StableDiffusionScenes: {"steps": 4},
    ControlNetScenes: {"steps": 2},
}


def samples(task=Task.EDIT):
    return [example(i, task, target_caption=caption) for i, caption in enumerate(CAPTIONS)]


CONTEXT = Context(device="cpu", examples=samples())


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    torch.set_num_threads(1)
    roots = {}
    for module, write in ((editar, write_editar), (scenes_diffusion, write_latent_diffusion)):
        roots[module] = tmp_path_factory.mktemp("weights")
        write(roots[module])
        write_manifest(roots[module])
    return roots


@pytest.fixture(autouse=True)
def shipped(roots, monkeypatch):
    for module, root in roots.items():
        monkeypatch.setattr(module, "WEIGHTS", root)
    monkeypatch.setattr(scenes_diffusion, "SIDE", 16)


@pytest.fixture(scope="module")
def ready():
    """Loaded models, kept for the tests of this file."""
    return {}


@pytest.fixture(params=TASKS)
def model(request, ready):
    kind = request.param
    if kind not in ready:
        ready[kind] = kind(**SETTINGS[kind])
    ready[kind].setup(Context(device="cpu", examples=samples(TASKS[kind])))
    return ready[kind]


@pytest.fixture
def batch(model):
    return samples(TASKS[type(model)])


def pictures(model, batch, seeds):
    return np.stack([g.image for g in model.generate(batch, seeds)]).astype(int)


def test_one_picture_an_example(model, batch):
    made = model.generate(batch, [1, 2, 3])
    assert [g.image.shape for g in made] == [(16, 16, 3)] * 3
    assert {g.image.dtype for g in made} == {np.dtype(np.uint8)}
    assert all(g.seconds > 0 for g in made)


def test_seeds_repeat_and_matter(model, batch):
    first = pictures(model, batch, [1, 2, 3])
    assert np.array_equal(pictures(model, batch, [1, 2, 3]), first)
    assert not np.array_equal(pictures(model, batch, [1, 2, 4])[2], first[2])


def test_company_in_the_batch_changes_nothing(model, batch):
    whole = pictures(model, batch, [1, 2, 2**63 - 1])
    pair = pictures(model, batch[1:], [2, 2**63 - 1])
    alone = pictures(model, batch[:1], [1])
    assert np.abs(np.concatenate([alone, pair]) - whole).max() <= 2


def test_condition_and_text_change_the_picture(model, batch):
    first = pictures(model, batch[:1], [5])
    assert (pictures(model, [replace(batch[0], condition=noise(77))], [5]) != first).any()
    text = {"prompt": "make the blue cone bigger", "target_caption": "make the blue cone bigger"}
    assert (pictures(model, [replace(batch[0], **text)], [5]) != first).any()


def test_another_size_is_refused(model, batch):
    with pytest.raises(UserError, match=r"16x16 pixels, .* sample \w+-0 is 8x8"):
        model.generate([replace(batch[0], condition=noise(0, 8))], [1])


@pytest.mark.parametrize("kind", TASKS)
def test_missing_and_damaged_weights(kind, tmp_path, monkeypatch):
    module = editar if kind is EditarScenes else scenes_diffusion
    monkeypatch.setattr(module, "WEIGHTS", tmp_path)
    with pytest.raises(MissingWeights, match="train all"):
        kind()
    names = ("editar", "codec", "text", "vae", *ControlNetScenes.folders, "instruct-pix2pix")
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    write_manifest(tmp_path)
    (tmp_path / "text" / "config.json").write_text("[]")
    (tmp_path / "instruct-pix2pix" / "config.json").write_text("[]")
    with pytest.raises(UserError, match=r"config\.json is damaged"):
        kind()


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (EditarScenes, {"guidance": "high"}, "guidance is 'high' and must be a number"),
        (EditarScenes, {"guidance": float("inf")}, "guidance is inf and must be a number"),
        (EditarScenes, {"top_k": float("inf")}, "top_k is inf and must be a number"),
        (EditarScenes, {"guidance": 0.5}, "at least 1"),
        (EditarScenes, {"top_p": 1.5}, "from 0 to 1"),
        (EditarScenes, {"top_k": 2.5}, "whole number"),
        (InstructPix2PixScenes, {"steps": 0}, "from 1 to 1000"),
        (InstructPix2PixScenes, {"steps": True}, "must be a number"),
        (InstructPix2PixScenes, {"image_guidance": 0.9}, "at least 1"),
        (StableDiffusionScenes, {"strength": 1.5}, "from 0.01 to 1"),
        (StableDiffusionScenes, {"mode": "edit"}, "img2img"),
        (ControlNetScenes, {"scale": -1}, "at least 0"),
    ],
)
def test_settings_are_checked(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        kind(**settings)


def test_editar_reads_the_string_of_its_task(monkeypatch):
    model = EditarScenes(guidance=2)
    model.setup(CONTEXT)
    seen = {}

    def edit(conditions, prompts, seeds, **settings):
        seen.update(prompts=prompts, **settings)
        return list(conditions)

    monkeypatch.setattr(type(model._editar), "edit", staticmethod(edit))
    model.generate([example(0), example(0, Task.DEPTH)], [1, 2])
    text = example(0).prompt
    depth = f"Given the depth image, generate an image following the description: {text}"
    assert seen["prompts"] == [text, depth]
    assert {k: seen[k] for k in ("guidance", "temperature", "top_k", "top_p")} == {
        "guidance": 2.0, "temperature": editar.TEMPERATURE, "top_k": 1000, "top_p": 1.0,
    }  # fmt: skip


def test_settings_reach_the_diffusion_pipeline(ready, monkeypatch):
    model = ready.setdefault("plain", InstructPix2PixScenes(steps=3, guidance=4))
    model.setup(CONTEXT)
    seen = {}
    call = type(model._pipeline).__call__

    def spy(self, **arguments):
        seen.update(arguments)
        return call(self, **arguments)

    monkeypatch.setattr(type(model._pipeline), "__call__", spy)
    white = np.full((16, 16, 3), 255, np.uint8)
    model.generate([example(0, condition=white)], [11])
    assert (seen["num_inference_steps"], seen["guidance_scale"]) == (3, 4.0)
    assert seen["image_guidance_scale"] == scenes_diffusion.IMAGE_GUIDANCE
    assert [g.initial_seed() for g in seen["generator"]] == [11]
    assert np.array_equal(np.asarray(seen["image"][0]), white)
    assert type(model._pipeline.scheduler).__name__ == "EulerAncestralDiscreteScheduler"


def test_pipeline_and_training_read_texts_in_the_same_way(ready, roots):
    pipeline = ready.setdefault("plain", InstructPix2PixScenes(steps=3, guidance=4))
    pipeline.setup(CONTEXT)
    texts = ["make the red cube bigger", ""]
    read = pipeline._pipeline._encode_prompt(texts[:1], "cpu", 1, True)[[0, 2]]
    text = load_text_encoder(roots[scenes_diffusion] / "text")
    assert torch.allclose(read, text.encode(texts), atol=1e-5)
    ids, mask = text.tokenize(texts)
    unmasked = text.encoder(input_ids=ids).last_hidden_state
    assert mask.min() == 0
    assert not torch.allclose(read, unmasked, atol=1e-3)  # or else the mask would show in nothing


def test_instruct_pix2pix_edits_only():
    ways = {task: c.how for task, c in InstructPix2PixScenes.capabilities.items()}
    assert ways == {Task.EDIT: How.NATIVE} | dict.fromkeys(list(Task)[1:], How.NO)
    assert "never saw a depth map" in InstructPix2PixScenes.capabilities[Task.DEPTH].reason


def test_stable_diffusion_edits_untrained_and_reads_the_caption_of_the_result(ready, monkeypatch):
    ways = {task: c.how for task, c in StableDiffusionScenes.capabilities.items()}
    assert ways == {Task.EDIT: How.ZERO_SHOT} | dict.fromkeys(list(Task)[1:], How.NO)
    assert "photographs, not edge maps" in StableDiffusionScenes.capabilities[Task.EDGE].reason
    model = ready.setdefault("sd", StableDiffusionScenes())
    model.setup(CONTEXT)
    arguments = model._arguments(samples())
    assert arguments["prompt"] == list(CAPTIONS)
    assert (arguments["strength"], arguments["num_inference_steps"]) == (
        scenes_diffusion.STRENGTH,
        50,
    )
    assert type(model._pipeline.scheduler).__name__ == "PNDMScheduler"


def test_stable_diffusion_makes_pictures_of_the_caption_alone(ready):
    model = StableDiffusionScenes(mode="text", steps=2)
    model.setup(Context(device="cpu", examples=samples(Task.DEPTH)))
    batch = samples(Task.DEPTH)[:1]
    first = pictures(model, batch, [1])
    assert first.shape == (1, 16, 16, 3)
    assert np.array_equal(pictures(model, [replace(batch[0], condition=noise(77))], [1]), first)
    assert model.capabilities[Task.DEPTH].how is How.ZERO_SHOT


def test_each_control_task_has_its_network_and_sees_it_from_0_to_1(ready, monkeypatch):
    assert ControlNetScenes.capabilities[Task.EDIT].how is How.NO
    model = ready.setdefault("control", ControlNetScenes(steps=2))
    networks = {}
    for task in list(Task)[1:]:
        model.setup(Context(device="cpu", examples=samples(task)))
        networks[task] = float(
            model._pipeline.controlnet.controlnet_mid_block.weight.detach().sum()
        )
        assert type(model._pipeline.scheduler).__name__ == "UniPCMultistepScheduler"
    seen = {}
    network = model._pipeline.controlnet
    forward = network.forward

    def spy(*arguments, **named):
        seen.update(named)
        return forward(*arguments, **named)

    monkeypatch.setattr(network, "forward", spy)
    levels = (noise(3).astype(np.float32) / 255).transpose(2, 0, 1)
    model.generate([example(0, Task.SEGMENTATION, condition=noise(3))], [1])
    assert np.allclose(seen["controlnet_cond"][0].numpy(), levels, atol=1e-6)
    assert len(set(networks.values())) == 3


def test_what_a_family_of_networks_cost_adds_up(roots):
    root = roots[scenes_diffusion]
    for name in ControlNetScenes.folders:
        run = {"samples": 5, "seconds": 60.0, "flops": 2.0, "device": "x", "threads": 1}
        record = json.dumps({"parameters": 10, "runs": [run]})
        (root / name / f"{name}.training.json").write_text(record)
    assert ControlNetScenes().training["parameters"] == 40
    # One budget is for a paradigm, whichever of its networks a task runs.
    assert StableDiffusionScenes().training == ControlNetScenes().training
    assert StableDiffusionScenes().training["flops"] == 8.0


def test_capabilities_are_known_without_heavy_libraries():
    code = (
        "import sys\n"
        "from models.adapters import editar, scenes_diffusion, reference, folder\n"
        "assert editar.EditarScenes.capabilities and scenes_diffusion.InstructPix2PixScenes.name\n"
        "print(sorted({'torch', 'diffusers', 'transformers', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
