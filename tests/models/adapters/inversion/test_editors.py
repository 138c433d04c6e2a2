"""The five editors under the harness, on a tiny random Stable Diffusion in the real format."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from editar_bench.builtin import MODELS
from editar_bench.contracts import Context
from editar_bench.errors import MissingWeights, UserError
from editar_bench.types import How, Task
from models.adapters.inversion import editors, null_text, plug_and_play
from models.adapters.inversion.editors import (
    DdimP2P,
    MasaCtrl,
    NullTextP2P,
    PlugAndPlay,
    PnpInversionP2P,
)
from tests.models.adapters.inversion.conftest import SIDE, captioned
from tests.models.making import example, noise

ALL = (DdimP2P, NullTextP2P, PnpInversionP2P, PlugAndPlay, MasaCtrl)
P2P = ALL[:3]
# Control in every step: the published parts of two steps would be the first one only.
EVERYWHERE = {"cross_replace": 1, "self_replace": 1}
SMALL = {
    PlugAndPlay: {"features": 1, "attention": 1},
    MasaCtrl: {"start_step": 0, "start_layer": 0},
}


@pytest.fixture(autouse=True)
def few_tries(monkeypatch):
    monkeypatch.setattr(null_text, "INNER_STEPS", 2)


@pytest.fixture(scope="module")
def make(folder):
    """Editors with few steps, loaded, kept for the tests of this file."""
    loaded = {}

    def made(kind, **settings):
        key = (kind, *settings.items())
        if key not in loaded:
            loaded[key] = kind(
                str(folder), **({"steps": 2} | SMALL.get(kind, EVERYWHERE) | settings)
            )
            loaded[key].setup(Context(device="cpu", examples=[captioned(0)]))
        return loaded[key]

    return made


def picture(editor, sample, seed=0):
    (made,) = editor.generate([sample], [seed])
    return made.image.astype(int)


def differs(one, other):
    return np.abs(one - other).max() > 2


@pytest.mark.parametrize("kind", ALL)
def test_captions_and_picture_decide_the_result_and_seed_and_company_do_not(make, kind):
    editor = make(kind)
    samples = [captioned(0), captioned(1, target_caption="a red tree")]
    one, two = (made.image.astype(int) for made in editor.generate(samples, [1, 2]))
    assert one.shape == two.shape == (SIDE, SIDE, 3)
    assert np.array_equal(picture(editor, samples[1], seed=7), two)
    assert differs(picture(editor, captioned(1)), two)  # another target
    assert differs(picture(editor, captioned(0, condition=noise(5, SIDE))), one)


@pytest.mark.parametrize("kind", ALL)
def test_the_source_caption_matters_where_the_source_is_inverted_under_it(make, kind):
    editor = make(kind)
    changed = differs(
        picture(editor, captioned(0)), picture(editor, captioned(0, source_caption="a red tree"))
    )
    assert changed == (kind is not MasaCtrl)


@pytest.mark.parametrize("kind", ALL)
def test_the_network_is_left_as_it_was(make, kind):
    unet = make(kind)._pipeline.unet
    before = dict(unet.attn_processors)
    picture(make(kind), captioned(0, blend_words=("cat", "dog")))
    assert unet.attn_processors == before
    assert not any(module._forward_hooks for module in unet.modules())


def test_the_changed_word_matters_to_prompt_to_prompt(make):
    editor = make(DdimP2P)
    blended = picture(editor, captioned(0, blend_words=("cat", "dog")))
    assert differs(blended, picture(editor, captioned(0)))


@pytest.mark.parametrize("kind", [PlugAndPlay, MasaCtrl])
def test_direct_inversion_is_another_row(make, kind):
    plain, direct = make(kind, steps=4), make(kind, steps=4, inversion="direct")
    assert plain.settings["inversion"] == "ddim" and direct.settings["inversion"] == "direct"
    assert not np.array_equal(picture(plain, captioned(0)), picture(direct, captioned(0)))


@pytest.mark.parametrize(("inversion", "length"), [("ddim", 2), ("direct", 3)])
def test_plug_and_play_reads_the_sources_latents_as_published(make, monkeypatch, inversion, length):
    editor = make(PlugAndPlay, inversion=inversion)
    seen = []
    inject = plug_and_play.inject
    monkeypatch.setattr(plug_and_play, "inject", lambda *a: seen.append(a) or inject(*a))
    sample = captioned(0)
    picture(editor, sample)
    sampler, path, texts, injection = seen[0]
    with torch.no_grad():
        clean = sampler.encode(Image.fromarray(sample.condition))
        source = sampler.embed([sample.source_caption])
        wanted = sampler.invert(clean, source)
        if inversion == "ddim":
            wanted = sampler.resample(wanted[-1], source)
        expected = sampler.embed(["", editors.NEGATIVE, sample.target_caption])
    assert len(path) == length  # of three: the script's latents are a step ahead
    assert all(torch.equal(one, other) for one, other in zip(path, wanted, strict=False))
    assert torch.equal(texts, expected)
    assert (injection.features_until, injection.attention_until) == (2, 2)


def test_plug_and_play_inverts_under_no_text_where_the_source_has_no_caption(make):
    bare = captioned(0, source_caption="")
    assert np.array_equal(
        picture(make(PlugAndPlay), bare),
        picture(make(PlugAndPlay), captioned(0, source_caption=None)),
    )
    assert differs(picture(make(PlugAndPlay), bare), picture(make(PlugAndPlay), captioned(0)))


def test_inversions_of_prompt_to_prompt_differ(make):
    one, two, three = (picture(make(kind, steps=4), captioned(0)) for kind in P2P)
    pairs = ((one, two), (one, three), (two, three))
    assert not any(np.array_equal(*pair) for pair in pairs)


def test_pictures_of_another_size_come_back_in_it(make):
    large = picture(make(PnpInversionP2P), captioned(0, condition=noise(0, 2 * SIDE)))
    assert large.shape == (2 * SIDE, 2 * SIDE, 3)
    with pytest.raises(UserError, match="square"):
        picture(make(PnpInversionP2P), captioned(0, condition=np.zeros((16, 24, 3), np.uint8)))


@pytest.mark.parametrize("kind", ALL)
def test_a_sample_without_captions_is_one_sentence(make, kind):
    editor, sample = make(kind), example(3, condition=noise(0, SIDE))
    reason = f"{kind.name} reads the .* caption, and sample edit-3 has none; leave the model out"
    with pytest.raises(UserError, match=reason):
        editor.generate([sample], [1])
    with pytest.raises(UserError, match=reason):  # before anything is loaded
        editor.setup(Context(device="cpu", examples=[sample]))


@pytest.mark.parametrize("kind", ALL)
def test_defaults_are_the_protocols(folder, kind):
    assert editors.NEGATIVE == "ugly, blurry, black, low res, unrealistic"
    settings = kind(str(folder)).settings
    assert (settings["steps"], settings["guidance"]) == (50, 7.5)
    own = {
        PlugAndPlay: {"features": 0.8, "attention": 0.5, "negative": editors.NEGATIVE},
        MasaCtrl: {"start_step": 4, "start_layer": 10},
    }
    for name, value in own.get(kind, {"cross_replace": 0.4, "self_replace": 0.6}).items():
        assert settings[name] == value
    base = {PlugAndPlay: editors.SD_1_5}.get(kind, editors.SD_1_4)
    with pytest.raises(MissingWeights, match=f"{base} is not on this machine; run .* {kind.name}"):
        kind()


@pytest.mark.parametrize(
    ("precision", "dtype"), [("auto", torch.float32), ("float16", torch.float16)]
)
def test_a_gpu_computes_in_single_precision_unless_told(folder, precision, dtype):
    from models.adapters import pipelines

    editor = DdimP2P(str(folder), precision=precision)
    assert pipelines.precision(editor.settings["precision"], "cuda:0", editor.half) is dtype
    assert NullTextP2P(str(folder)).settings["precision"] == "float32"


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (DdimP2P, {"steps": 0}, "from 1 to 1000"),
        (NullTextP2P, {"cross_replace": 1.5}, "from 0 to 1"),
        (PnpInversionP2P, {"self_replace": "much"}, "must be a number"),
        (PlugAndPlay, {"features": -0.1}, "from 0 to 1"),
        (PlugAndPlay, {"negative": 3}, "must be text"),
        (PlugAndPlay, {"inversion": "null"}, "one of ddim, direct"),
        (MasaCtrl, {"start_layer": 1.5}, "whole number"),
        (MasaCtrl, {"memory": "little"}, "one of"),
    ],
)
def test_settings_are_checked(folder, kind, settings, message):
    with pytest.raises(ValueError, match=message):
        kind(str(folder), **settings)


def test_saving_memory_keeps_the_picture(make):
    plain, sliced = make(PnpInversionP2P), make(PnpInversionP2P, memory="slices")
    sample = captioned(0, blend_words=("cat", "dog"))
    assert not differs(picture(plain, sample), picture(sliced, sample))


@pytest.mark.parametrize("kind", ALL)
def test_weights_are_known_by_their_files(folder, kind):
    names = kind(str(folder)).fingerprint
    assert {
        "pipeline/unet/diffusion_pytorch_model.safetensors",
        "pipeline/model_index.json",
    } <= set(names)


@pytest.mark.parametrize("kind", ALL)
def test_they_edit_and_do_nothing_else(kind):
    ways = {task: c.how for task, c in kind.capabilities.items()}
    assert ways == {Task.EDIT: How.ZERO_SHOT} | dict.fromkeys(list(Task)[1:], How.NO)
    assert "captions before and after" in kind.capabilities[Task.EDIT].reason
    assert MODELS[kind.name][0] == f"{kind.__module__}:{kind.__name__}"


def test_they_are_known_without_heavy_libraries():
    code = (
        "import sys\n"
        "from models.adapters.inversion import editors\n"
        "assert editors.MasaCtrl.capabilities\n"
        "print(sorted({'torch', 'diffusers', 'transformers', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
