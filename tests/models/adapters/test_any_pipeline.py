"""The generic adapter on tiny pipelines of several classes, and its named settings."""

from __future__ import annotations

import inspect
import json
import pickle
import shutil

import diffusers
import numpy as np
import pytest

from editar_bench.contracts import Context
from editar_bench.errors import MissingWeights, UserError
from editar_bench.types import How, Task
from models.adapters import any_pipeline, hub
from models.adapters.any_pipeline import AnyPipeline
from models.adapters.large_editors import FluxKontext, OmniGen, QwenImageEdit
from tests.models.adapters import tiny
from tests.models.adapters.tiny import SIDE
from tests.models.making import example, noise

IMG2IMG = {"pipeline": "StableDiffusionImg2ImgPipeline", "strength": 0.9}
SYSTEMS = {
    "sd": (AnyPipeline, {}, Task.DEPTH),
    "sd as img2img": (AnyPipeline, IMG2IMG, Task.EDIT),
    "ip2p": (AnyPipeline, {}, Task.EDIT),
    "sd-controlnet": (AnyPipeline, {"condition": "edge"}, Task.EDGE),
    "amused": (AnyPipeline, {"resolution": SIDE}, Task.DEPTH),
    "kontext": (FluxKontext, {"resolution": SIDE}, Task.EDIT),
    "omnigen": (OmniGen, {"resolution": SIDE}, Task.EDIT),
    "qwen": (QwenImageEdit, {"resolution": SIDE}, Task.EDIT),
}


def samples(task):
    captions = ["a red cube", "a green ball", "a blue cone"]
    return [
        example(i, task, condition=noise(i, SIDE), prompt=captions[i], target_caption=captions[i])
        for i in range(3)
    ]


@pytest.fixture(autouse=True)
def small_sources(monkeypatch):
    """Qwen-Image-Edit reads its source at an area of 1024 x 1024, whatever it is asked to make."""
    module = "diffusers.pipelines.qwenimage.pipeline_qwenimage_edit"
    monkeypatch.setattr(f"{module}.calculate_dimensions", lambda area, ratio: (SIDE, SIDE, None))


@pytest.fixture(scope="module")
def ready(pipelines):
    loaded = {}
    tiny.write_omnigen(pipelines / "omnigen")
    tiny.write_qwen(pipelines / "qwen")

    def get(name):
        if name not in loaded:
            kind, settings, task = SYSTEMS[name]
            model = kind(str(pipelines / name.partition(" ")[0]), steps=2, **settings)
            model.setup(Context(device="cpu", examples=samples(task)))
            loaded[name] = (model, task)
        return loaded[name]

    return get


def pictures(model, batch, seeds):
    return np.stack([g.image for g in model.generate(batch, seeds)]).astype(int)


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_kind_of_pipeline(ready, name):
    model, task = ready(name)
    batch = samples(task)
    first = pictures(model, batch, [1, 2, 3])
    assert first.shape == (3, SIDE, SIDE, 3)
    assert np.array_equal(pictures(model, batch[1:2], [2])[0], first[1])
    assert (pictures(model, batch[:1], [9]) != first[0]).any()
    other = [example(0, task, condition=batch[1].condition, prompt=batch[0].prompt)]
    same = np.array_equal(
        pictures(model, other, [1])[0], first[0]
    )  # made alone they repeat to the bit
    assert same == (name in ("sd", "amused"))
    other = [example(0, task, condition=batch[0].condition, prompt="xyz ! 0123456789",
                     target_caption="xyz ! 0123456789")]  # fmt: skip
    assert (pictures(model, other, [1]) != first[0]).any()


def test_a_model_can_be_sent_to_a_worker(pipelines):
    model = AnyPipeline(str(pipelines / "ip2p"), steps=2)
    sent = pickle.loads(pickle.dumps(model))
    batch = [example(0, condition=noise(0, SIDE))]
    sent.setup(Context(device="cpu", examples=batch))
    assert sent.generate(batch, [1])[0].image.shape == (SIDE, SIDE, 3)


def test_capabilities_come_from_the_signature(ready):
    edit, depth, edge = Task.EDIT, Task.DEPTH, Task.EDGE
    can = {name: ready(name)[0].capabilities for name in SYSTEMS}
    assert {c.how for c in can["sd"].values()} == {How.ZERO_SHOT}
    assert "sees no picture" in can["sd"][edit].reason
    assert (can["ip2p"][edit].how, can["ip2p"][depth].how) == (How.ZERO_SHOT, How.NO)
    assert (can["sd-controlnet"][edge].how, can["sd-controlnet"][depth].how) == (
        How.NATIVE,
        How.NO,
    )
    assert (can["kontext"][edit].how, can["kontext"][edge].how) == (How.NATIVE, How.NO)


def test_a_control_pipeline_must_be_told_its_condition(pipelines):
    model = AnyPipeline(str(pipelines / "sd-controlnet"))
    assert {c.how for c in model.capabilities.values()} == {How.NO}
    assert "condition=depth" in model.capabilities[Task.DEPTH].reason


def test_a_condition_for_a_pipeline_that_reads_none_is_refused(pipelines):
    with pytest.raises(ValueError, match="StableDiffusionPipeline reads no condition"):
        AnyPipeline(str(pipelines / "sd"), condition="depth")


def test_a_pipeline_without_a_picture_reads_the_caption_of_the_result(pipelines):
    model = AnyPipeline(str(pipelines / "sd"))
    instruction = example(0, condition=noise(0, SIDE), target_caption="a red cube")
    assert model._arguments([instruction])["prompt"] == "a red cube" != instruction.prompt


def test_a_strength_that_leaves_no_step_is_refused(pipelines):
    with pytest.raises(ValueError, match="which leaves none"):
        AnyPipeline(str(pipelines / "sd"), **(IMG2IMG | {"strength": 0.1}), steps=4)


def test_settings_are_the_pipelines_own_unless_given(pipelines):
    settings = AnyPipeline(str(pipelines / "ip2p"), guidance=3).settings
    assert (settings["steps"], settings["guidance"], settings["image_guidance"]) == (100, 3.0, 1.5)
    assert settings["resolution"] == SIDE  # as the networks say
    assert settings["pipeline"] == "StableDiffusionInstructPix2PixPipeline"
    assert "strength" not in settings
    with pytest.raises(ValueError, match="InstructPix2PixPipeline has no argument for strength"):
        AnyPipeline(str(pipelines / "ip2p"), strength=0.5)


@pytest.mark.parametrize(
    ("kind", "pipeline", "expected"),
    [
        (
            QwenImageEdit,
            "QwenImageEditPipeline",
            {"true_cfg_scale": 4.0, "negative_prompt": " ", "num_inference_steps": 50},
        ),
        (
            OmniGen,
            "OmniGenPipeline",
            {"guidance_scale": 2.0, "img_guidance_scale": 1.6, "num_inference_steps": 50},
        ),
        (
            FluxKontext,
            "FluxKontextPipeline",
            {"guidance_scale": 2.5, "num_inference_steps": 28, "max_area": 1024**2},
        ),
    ],
)
def test_named_settings_fit_the_signatures_of_diffusers(
    tmp_path, monkeypatch, kind, pipeline, expected
):
    """Their networks are too large for a test, their pipelines' classes are not."""
    index = {"_class_name": pipeline, "_diffusers_version": "0.40.0"}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    model = kind(str(tmp_path))
    arguments = model._arguments([example(0, condition=noise(0, SIDE))])
    assert arguments.keys() <= inspect.signature(model._class.__call__).parameters.keys()
    assert arguments.items() >= {**expected, "height": 1024, "width": 1024}.items()
    picture = arguments["input_images"][0] if kind is OmniGen else arguments["image"]
    assert picture.size == (1024, 1024)
    assert kind.capabilities == model.capabilities
    assert kind(str(tmp_path), steps=9).settings["steps"] == 9


def test_omnigens_prompts_say_where_the_picture_stands(tmp_path):
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "OmniGenPipeline"}))
    model = OmniGen(str(tmp_path), resolution=SIDE)
    edit, depth = (
        model._arguments([example(0, task, condition=noise(0, SIDE), prompt="a cube")])["prompt"]
        for task in (Task.EDIT, Task.DEPTH)
    )
    assert edit == "<img><|image_1|></img> a cube"
    assert depth.startswith("Following the depth mapping of this image <img><|image_1|></img>, ")
    assert depth.endswith("generate a new photo: a cube")


@pytest.mark.parametrize("name", ["MyPipeline", "os.system", "AutoencoderKL", "utils"])
def test_a_pipeline_that_diffusers_lacks_is_named(pipelines, tmp_path, name):
    folder = shutil.copytree(pipelines / "sd", tmp_path / "copy")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": name}))
    with pytest.raises(UserError, match=f"has no pipeline '{name}', .* never run"):
        AnyPipeline(str(folder))
    with pytest.raises(UserError, match=f"has no pipeline '{name}'"):
        AnyPipeline(str(pipelines / "sd"), pipeline=name)


def test_pipelines_without_text_or_with_masks_do_nothing_here():
    def inpaint(prompt, image, mask_image): ...

    def upscale(image): ...

    for call, reason in ((inpaint, "needs a mask"), (upscale, "reads no text")):
        can = any_pipeline.capabilities_by(inspect.signature(call).parameters, "")
        assert {(c.how, c.reason) for c in can.values()} == {(How.NO, f"the pipeline {reason}")}


def test_without_a_source_it_is_no_model():
    with pytest.raises(MissingWeights, match="diffusers:owner/name"):
        AnyPipeline()


@pytest.mark.parametrize("kind", [FluxKontext, QwenImageEdit, OmniGen])
def test_prepare_and_the_sentence_for_missing_weights(kind, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingWeights, match=f"{kind.published} is not .* --model {kind.name}`"):
        kind()
    asked = []
    monkeypatch.setattr(hub, "fetch", lambda source, model: asked.append(source.place))
    kind.prepare()
    kind.prepare(weights="me/mine")
    assert asked == [kind.published, "me/mine"]


def test_a_pipeline_that_wants_a_photograph_and_a_condition_fits_no_task():
    parameters = inspect.signature(
        diffusers.StableDiffusionControlNetImg2ImgPipeline.__call__
    ).parameters
    for condition in ("", "depth"):
        can = any_pipeline.capabilities_by(parameters, condition)
        assert {c.how for c in can.values()} == {How.NO}
        assert all("a photograph and a condition" in c.reason for c in can.values())
