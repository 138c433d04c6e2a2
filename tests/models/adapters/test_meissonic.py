"""Meissonic as a tiny random model in the layout of its repository.

Beside the authors' own code (September 2024, with the same random weights) network and pictures were equal: logits to
3e-6, pictures of both modes to the bit.
"""

from __future__ import annotations

import json
import pickle
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from editar_bench.contracts import Context
from editar_bench.errors import MissingWeights, UserError
from editar_bench.model_names import create_model, parse_label
from editar_bench.types import How, Task
from models.adapters import hub, meissonic
from models.adapters.amused import Amused
from models.adapters.meissonic import Meissonic
from tests.models.adapters.test_released_diffusion import batch, pictures
from tests.models.adapters.tiny import SIDE
from tests.models.making import example

SMALL = {"text": "own", "steps": 4, "strength": 0.8, "resolution": SIDE}
# Names of parameters as the released files have them (of the two kinds of blocks, Flux's, two).
NAMES = re.findall(
    r"\S+",
    """
cond_embed.linear_1.weight cond_embed.linear_2.weight context_embedder.bias context_embedder.weight
down_block.downsample.conv.weight down_block.downsample.norm.weight embed.conv.weight embed.embeddings.weight
embed.layer_norm.weight encoder_proj_layer_norm.weight mlm_layer.conv1.weight mlm_layer.conv2.weight
mlm_layer.layer_norm.weight project_from_hidden.weight project_from_hidden_norm.weight project_to_hidden.weight
project_to_hidden_norm.weight time_text_embed.text_embedder.linear_1.bias time_text_embed.text_embedder.linear_1.weight
time_text_embed.text_embedder.linear_2.bias time_text_embed.text_embedder.linear_2.weight
time_text_embed.timestep_embedder.linear_1.bias time_text_embed.timestep_embedder.linear_1.weight
time_text_embed.timestep_embedder.linear_2.bias time_text_embed.timestep_embedder.linear_2.weight
up_block.upsample.conv.weight up_block.upsample.norm.weight
""",
)
BLOCKS = (
    "transformer_blocks.0.attn.add_q_proj.weight",
    "single_transformer_blocks.0.proj_mlp.bias",
)


@pytest.fixture(scope="module")
def model(pipelines):
    made = Meissonic(str(pipelines / "meissonic"), **SMALL)
    made.setup(Context(device="cpu", examples=batch(Task.EDIT)))
    return made


def test_pictures_follow_seed_condition_and_prompt_alone(model):
    samples = batch(Task.EDIT)
    first = pictures(model, samples, [1, 2, 2**63 - 1])
    assert first.shape == (3, SIDE, SIDE, 3)
    again = pictures(model, [samples[2], samples[0]], [2**63 - 1, 1])
    assert np.array_equal(again, first[[2, 0]])
    assert (pictures(model, samples[:1], [7]) != first[0]).any()
    other = [example(0, condition=samples[1].condition, prompt=samples[0].prompt)]
    assert (pictures(model, other, [1]) != first[0]).any()
    other = [example(0, condition=samples[0].condition, prompt="xyz !!! 0123456789")]
    assert (pictures(model, other, [1]) != first[0]).any()


def test_parameters_are_called_as_in_the_released_files(model):
    own = model._pipeline.transformer.state_dict().keys()
    assert {name for name in own if "transformer_blocks" not in name} == set(NAMES)
    assert set(BLOCKS) < own


def test_the_codes_that_were_not_masked_stay(model):
    """Strength 0.5 of 4 steps starts where the schedule leaves cos(2/4 pi/2) of the codes masked."""
    pipeline, picture = model._pipeline, Image.fromarray(batch(Task.EDIT)[0].condition)
    codes = pipeline._start(picture, SIDE, SIDE)
    assert codes.shape == (1, SIDE // 2, SIDE // 2) and len(codes.unique()) > 1
    seen = []
    handle = pipeline.transformer.register_forward_hook(lambda net, args, made: seen.append(args))
    model.settings = model.settings | {"strength": 0.5}
    model.generate(batch(Task.EDIT)[:1], [1])
    handle.remove()
    model.settings = model.settings | {"strength": 0.8}
    start = seen[0][0][:1]
    masked = start == 31
    assert abs(masked.float().mean().item() - np.cos(np.pi / 4)) < 0.1
    assert torch.equal(start[~masked], codes[~masked])
    assert [args[4].item() for args in seen] == [1, 0]  # steps that are still to come
    kept = seen[1][0][:1]
    assert torch.equal(kept[~masked], codes[~masked])


def test_text_mode_starts_with_masks_alone(pipelines):
    made = Meissonic(str(pipelines / "meissonic"), mode="text", **SMALL)
    samples = batch(Task.DEPTH)
    made.setup(Context(device="cpu", examples=samples))
    swapped = [example(0, Task.DEPTH, prompt=samples[0].prompt, condition=samples[1].condition,
                       target_caption=samples[0].target_caption)]  # fmt: skip
    first = pictures(made, samples[:1], [1])
    assert np.array_equal(pictures(made, swapped, [1]), first)
    assert (pictures(made, samples[1:2], [1]) != first).any()
    assert {c.how for c in made.capabilities.values()} == {How.ZERO_SHOT}
    assert (made._pipeline._start(None, SIDE, SIDE) == 31).all()


def test_published_settings(pipelines, monkeypatch):
    asked = []
    found = hub.find(hub.Source(place=str(pipelines / "meissonic"), folder="vqvae"), "meissonic")
    monkeypatch.setattr(hub, "find", lambda source, model: asked.append(source.path) or found)
    settings = Meissonic().settings
    assert (settings["steps"], settings["guidance"], settings["resolution"]) == (64, 9.0, 1024)
    assert settings["negative"].startswith("worst quality, low quality, low res, blurry")
    assert asked == [
        *(f"MeissonFlow/Meissonic/{p}" for p in ("vqvae", "transformer", "tokenizer", "scheduler")),
        "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
    ]
    assert Meissonic().ceiling == "codec-amused:resolution=1024,weights=MeissonFlow/Meissonic"


def test_its_ceiling_is_its_own_codec(model):
    label, ceiling = create_model(parse_label(model.ceiling))
    assert label == model.ceiling
    assert set(ceiling.fingerprint.values()) < set(model.fingerprint.values())


def test_the_text_encoder_may_be_a_whole_clip(pipelines, tmp_path):
    """LAION's repository holds both towers; the text's is read of it."""
    from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig

    own = json.loads((pipelines / "meissonic" / "text_encoder" / "config.json").read_text())
    vision = CLIPVisionConfig(
        hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        image_size=8, patch_size=4,
    )  # fmt: skip
    whole = CLIPModel(CLIPConfig(
        text_config=own, vision_config=vision.to_dict(), projection_dim=own["projection_dim"]
    ))  # fmt: skip
    whole.save_pretrained(str(tmp_path / "clip"))
    settings = SMALL | {"text": str(tmp_path / "clip")}
    made = Meissonic(str(pipelines / "meissonic"), **settings)
    made.setup(Context(device="cpu", examples=batch(Task.EDIT)))
    read = made._pipeline.text_encoder.state_dict()
    assert torch.equal(read["text_projection.weight"], whole.text_projection.weight)


def test_it_can_be_sent_to_a_worker_before_it_is_loaded(pipelines):
    sent = pickle.loads(pickle.dumps(Meissonic(str(pipelines / "meissonic"), **SMALL)))
    assert sent.settings["steps"] == 4


@pytest.mark.parametrize("kind", [Meissonic, Amused])
@pytest.mark.parametrize(("strength", "steps"), [(1, 12), (0.05, 12), (0.5, 1)])
def test_a_strength_that_masks_nothing_is_refused(kind, strength, steps):
    with pytest.raises(ValueError, match="must leave some steps out and some in; mode=text"):
        kind(strength=strength, steps=steps)


def test_missing_parts_are_one_sentence(pipelines, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.delenv("EDITAR_BENCH_WEIGHTS", raising=False)
    with pytest.raises(MissingWeights, match="run `editar-bench prepare --model meissonic`"):
        Meissonic()
    folder = shutil.copytree(pipelines / "meissonic", tmp_path / "copy")
    (folder / "tokenizer" / "tokenizer_config.json").unlink()
    with pytest.raises(MissingWeights, match="copy/tokenizer/tokenizer_config.json is not on"):
        Meissonic(str(folder), **SMALL)


def test_the_codec_stays_in_single_precision_where_its_configuration_says_so(pipelines, tmp_path):
    folder = shutil.copytree(pipelines / "meissonic", tmp_path / "copy")
    path = folder / "vqvae" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"force_upcast": True}))
    made = Meissonic(str(folder), **(SMALL | {"precision": "float16"}))
    made.setup(Context(device="cpu", examples=batch(Task.EDIT)))
    assert made._pipeline.transformer.dtype == torch.float16
    assert made._pipeline.vqvae.dtype == torch.float32
    assert np.ptp(made.generate(batch(Task.EDIT)[:1], [0])[0].image) > 0


def test_prepare_asks_for_the_parts_alone(monkeypatch):
    asked = []
    monkeypatch.setattr(hub, "fetch", lambda source, model: asked.append(source.marker))
    Meissonic.prepare(text=meissonic.OWN)
    assert asked == [
        "vqvae/config.json", "transformer/config.json", "tokenizer/tokenizer_config.json",
        "scheduler/scheduler_config.json", "text_encoder/config.json",
    ]  # fmt: skip


def test_other_weights_are_one_sentence(pipelines, tmp_path):
    folder = shutil.copytree(pipelines / "meissonic", tmp_path / "copy")
    shutil.rmtree(folder / "transformer")
    shutil.copytree(pipelines / "amused" / "transformer", folder / "transformer")
    made = Meissonic(str(folder), **SMALL)
    with pytest.raises(UserError, match="cannot be loaded as a MeissonicTransformer"):
        made.setup(Context(device="cpu", examples=batch(Task.EDIT)))
