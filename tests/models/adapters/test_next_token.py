"""`parti-scenes` and `llamagen-scenes` with tiny random weights in the shipped form."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from editar_bench.contracts import Context
from editar_bench.errors import MissingWeights, UserError
from editar_bench.types import How, Task
from models.adapters import compact
from models.adapters.llamagen import LlamaGenScenes
from models.adapters.parti import PartiScenes
from models.compact.llamagen import LlamaGen
from models.compact.parti import Parti, PartiConfig
from models.editar.checkpoint import save_half
from models.editar.config import TransformerConfig
from models.weights_manifest import partners, write_manifest
from tests.models.compact.conftest import enliven
from tests.models.making import TRANSFORMER, example, noise, write_codec, write_text

CAPTIONS = ("a red cube", "two green balls", "a blue cone on a plain")
BATCH = [example(i, target_caption=caption) for i, caption in enumerate(CAPTIONS)]
SEEDS = [1, 2, 2**63 - 1]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("weights")
    write_text(root / "text")
    write_codec(root / "codec")
    sizes = TRANSFORMER | {"encoder_layers": 1}
    networks = {
        "parti": (Parti(PartiConfig.from_dict(sizes)), sizes),
        "llamagen": (LlamaGen(TransformerConfig.from_dict(TRANSFORMER)), TRANSFORMER),
    }
    for folder, (network, sizes) in networks.items():
        save_half(enliven(network), root / folder / "transformer.safetensors")
        config = {"transformer": sizes, "codec": "../codec", "text": "../text", **partners(root)}
        (root / folder / "config.json").write_text(json.dumps(config))
    write_manifest(root)
    return root


@pytest.fixture(autouse=True)
def shipped(root, monkeypatch):
    monkeypatch.setattr(compact, "WEIGHTS", root)


@pytest.fixture(scope="module")
def ready():
    """Loaded models, kept for the tests of this file."""
    return {}


@pytest.fixture(params=[PartiScenes, LlamaGenScenes])
def model(request, ready):
    if request.param not in ready:
        ready[request.param] = request.param(guidance=2.0)
    ready[request.param].setup(Context(device="cpu", examples=BATCH))
    return ready[request.param]


def pictures(model, batch=BATCH, seeds=SEEDS):
    return np.stack([g.image for g in model.generate(batch, seeds)]).astype(int)


def test_one_picture_an_example(model):
    made = model.generate(BATCH, SEEDS)
    assert [(g.image.shape, g.image.dtype) for g in made] == [((16, 16, 3), np.dtype(np.uint8))] * 3
    assert all(g.seconds > 0 for g in made)


def test_seeds_repeat_and_matter(model):
    first = pictures(model)
    assert np.array_equal(pictures(model), first)
    other = pictures(model, seeds=[1, 2, 4])
    assert np.array_equal(other[:2], first[:2])
    assert not np.array_equal(other[2], first[2])


def test_company_in_the_batch_changes_nothing(model):
    parts = [pictures(model, BATCH[:1], SEEDS[:1]), pictures(model, BATCH[1:], SEEDS[1:])]
    assert np.abs(np.concatenate(parts) - pictures(model)).max() <= 2


def test_guidance_changes_the_picture(model):
    plain = type(model)(guidance=1.0)
    plain.setup(Context(device="cpu", examples=BATCH))
    assert (pictures(plain) != pictures(model)).any()


def test_another_size_is_refused(model):
    with pytest.raises(UserError, match="16x16 pixels, .* sample edit-0 is 8x8"):
        model.generate([example(0, condition=noise(0, 8))], [1])


def test_parti_follows_condition_and_prompt(ready):
    model = ready[PartiScenes]
    first = pictures(model, BATCH[:1], [5])
    for change in ({"condition": noise(77)}, {"prompt": "make the blue cone bigger"}):
        assert (pictures(model, [replace(BATCH[0], **change)], [5]) != first).any()
    assert (pictures(model, [replace(BATCH[0], target_caption="a cone")], [5]) == first).all()
    assert {c.how for c in PartiScenes.capabilities.values()} == {How.NATIVE}


def test_llamagen_knows_the_caption_and_nothing_else(ready):
    model = ready[LlamaGenScenes]
    first = pictures(model, BATCH[:1], [5])
    assert (pictures(model, [replace(BATCH[0], target_caption="a green ball")], [5]) != first).any()
    blind = replace(BATCH[0], condition=noise(77), prompt="make the blue cone bigger")
    assert (pictures(model, [blind], [5]) == first).all()
    # On the other tasks the prompt is the caption, and no string of the task comes before it.
    depth = example(0, Task.DEPTH, prompt=CAPTIONS[0])
    assert (pictures(model, [depth], [5]) == first).all()
    assert {c.how for c in LlamaGenScenes.capabilities.values()} == {How.ZERO_SHOT}
    assert "never sees the depth map" in LlamaGenScenes.capabilities[Task.DEPTH].reason


def test_llamagen_takes_the_prompt_where_there_is_no_caption(ready):
    model = ready[LlamaGenScenes]
    bare, named = example(0), example(0, target_caption=example(0).prompt)
    assert (pictures(model, [bare], [5]) == pictures(model, [named], [5])).all()


@pytest.mark.parametrize("kind", [PartiScenes, LlamaGenScenes])
def test_missing_and_foreign_weights(kind, root, tmp_path, monkeypatch):
    monkeypatch.setattr(compact, "WEIGHTS", tmp_path)
    with pytest.raises(MissingWeights, match="train all"):
        kind()
    for name in ("codec", "text", kind.folder):
        (tmp_path / name).mkdir()
        for path in (root / name).iterdir():
            (tmp_path / name / path.name).write_bytes(path.read_bytes())
    write_manifest(tmp_path)
    assert set(kind().fingerprint) > {f"{kind.folder}/transformer.safetensors"}
    codec = tmp_path / "codec" / "codec.safetensors"
    save_file({k: v + 1 for k, v in load_file(codec).items()}, codec)
    write_manifest(tmp_path)
    with pytest.raises(UserError, match="trained with another codec"):
        kind()


@pytest.mark.parametrize("kind", [PartiScenes, LlamaGenScenes])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"guidance": 0.5}, "at least 1"),
        ({"temperature": 0}, "at least 0.01"),
        ({"top_k": 2.5}, "whole number"),
    ],
)
def test_settings_are_checked(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        kind(**settings)


def test_capabilities_are_known_without_heavy_libraries():
    code = (
        "import sys\n"
        "from models.adapters import llamagen, parti\n"
        "assert llamagen.LlamaGenScenes.capabilities and parti.PartiScenes.name\n"
        "print(sorted({'torch', 'diffusers', 'transformers', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
