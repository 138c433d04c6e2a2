"""`muse-scenes` and `var-scenes` with tiny random weights in the shipped form."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from editar_bench import builtin
from editar_bench.contracts import Context
from editar_bench.errors import MissingWeights, UserError
from editar_bench.types import How, Task
from models.adapters import compact
from models.adapters.compact import MuseScenes, VarScenes
from models.adapters.reference import MultiScaleRoundTrip
from models.compact.muse import Muse
from models.compact.var import Var, VarConfig
from models.editar.checkpoint import save_half
from models.editar.config import TransformerConfig
from models.editar.pictures import to_tensor
from models.weights_manifest import partners, write_manifest
from tests.models.compact.conftest import enliven
from tests.models.making import TRANSFORMER, example, noise, write_codec, write_text

BATCH = [example(i) for i in range(3)]
SEEDS = [1, 2, 2**63 - 1]
SETTINGS = {MuseScenes: {"guidance": 2.0, "steps": 3}, VarScenes: {"guidance": 2.0}}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("weights")
    write_text(root / "text")
    write_codec(root / "codec", multiscale=(1, 2, 4))
    sizes = TRANSFORMER | {"scales": [1, 2, 4], "code_dim": 4}
    networks = {
        "muse": (Muse(TransformerConfig.from_dict(TRANSFORMER)), TRANSFORMER),
        "var": (Var(VarConfig.from_dict(sizes)), sizes),
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


@pytest.fixture(params=[MuseScenes, VarScenes])
def model(request, ready):
    if request.param not in ready:
        ready[request.param] = request.param(**SETTINGS[request.param])
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
    swapped = pictures(model, BATCH[::-1], SEEDS[::-1])
    assert np.abs(swapped[::-1] - pictures(model)).max() <= 2


def test_condition_prompt_and_task_change_the_picture(model):
    first = pictures(model, BATCH[:1], [5])
    for changed in (
        example(0, condition=noise(77)),
        example(0, prompt="make the blue cone bigger"),
        example(0, Task.DEPTH),  # the string of its task comes before the prompt
    ):
        assert (pictures(model, [changed], [5]) != first).any()


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (MuseScenes, [{"steps": 1}, {"choice_temperature": 0}]),
        (VarScenes, []),
    ],
)
def test_every_setting_changes_the_picture(kind, changes):
    plain = kind(**SETTINGS[kind])
    plain.setup(Context(device="cpu", examples=BATCH))
    first = pictures(plain)
    for change in [{"guidance": 1.0}, {"temperature": 0.3}, {"top_k": 1}, *changes]:
        other = kind(**SETTINGS[kind] | change)
        assert other.settings.items() >= change.items()
        other.setup(Context(device="cpu", examples=BATCH))
        assert (pictures(other) != first).any(), change


def test_pictures_are_what_the_decoder_makes_of_the_codes(model, monkeypatch):
    seen = []
    network, codec = model._parts.network, model._parts.codec
    sample = network.sample
    monkeypatch.setattr(network, "sample", lambda *a: (seen.append(sample(*a)), seen[-1])[1])
    made = to_tensor(pictures(model).astype(np.uint8))
    decode = codec.decode if isinstance(model, MuseScenes) else codec.decode_multiscale
    assert (decode(seen[0]).clamp(-1, 1) - made).abs().max() < 1 / 127


def test_another_size_is_refused(model):
    with pytest.raises(UserError, match="16x16 pixels, .* sample edit-0 is 8x8"):
        model.generate([example(0, condition=noise(0, 8))], [1])


@pytest.mark.parametrize("kind", [MuseScenes, VarScenes])
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


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (MuseScenes, {"guidance": 0.5}, "at least 1"),
        (MuseScenes, {"steps": 0}, "from 1 to 1000"),
        (MuseScenes, {"steps": 10**9}, "from 1 to 1000"),
        (MuseScenes, {"choice_temperature": -1}, "at least 0"),
        (VarScenes, {"temperature": 0}, "at least 0.01"),
        (VarScenes, {"top_k": 2.5}, "whole number"),
    ],
)
def test_settings_are_checked(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        kind(**settings)


def test_capabilities_ceilings_and_names():
    for kind in (MuseScenes, VarScenes):
        assert {c.how for c in kind.capabilities.values()} == {How.NATIVE}
        target, _ = builtin.MODELS[kind.name]
        assert target == f"models.adapters.compact:{kind.__name__}"
    assert MuseScenes.ceiling == "codec"
    assert VarScenes.ceiling == MultiScaleRoundTrip.name


def test_capabilities_are_known_without_heavy_libraries():
    code = (
        "import sys\n"
        "from models.adapters.compact import MuseScenes, VarScenes\n"
        "assert MuseScenes.capabilities and VarScenes.name\n"
        "print(sorted({'torch', 'diffusers', 'transformers', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
