"""LlamaGen's published form: parity with recorded outputs of the published code, its files, its captions."""

from __future__ import annotations

import argparse
import json
from fractions import Fraction
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from editar_bench.errors import UserError
from models.compact.captions import clean_caption
from models.compact.llamagen import LlamaGen, load_llamagen
from models.compact.released import CODECS, STAGES
from models.editar.choosing import SamplerSettings
from models.editar.config import TransformerConfig

GOLDEN = Path(__file__).parents[2] / "golden" / "llamagen"


@pytest.fixture(scope="module")
def io():
    return load_file(GOLDEN / "io.safetensors")


@pytest.fixture(scope="module")
def sizes():
    return json.loads((GOLDEN / "config.json").read_text())["transformer"]


@pytest.fixture(scope="module")
def model(sizes):
    return load_llamagen(GOLDEN / "transformer.safetensors", sizes)


@torch.no_grad()
def test_training_logits_and_loss(model, io):
    keep = torch.zeros(2, dtype=torch.bool)
    logits = model.forward_train(io["text"], io["mask"], io["target"], keep)
    torch.testing.assert_close(logits, io["logits"], atol=1e-4, rtol=0)
    loss = F.cross_entropy(logits.flatten(0, 1), io["target"].flatten())
    torch.testing.assert_close(loss, io["loss"], atol=1e-4, rtol=0)


@pytest.mark.parametrize(("guidance", "codes"), [(1.0, "codes_plain"), (7.5, "codes_guided")])
def test_greedy_sequences_are_exact(model, io, guidance, codes):
    settings = SamplerSettings(guidance=guidance, greedy=True)
    made = model.sample(io["text"], io["mask"], settings, torch.zeros(io["target"].shape))
    assert torch.equal(made, io[codes])
    assert not torch.equal(io["codes_plain"], io["codes_guided"])


def test_the_published_trainers_file_is_read(model, sizes, io, tmp_path):
    content = {
        "model": {f"_orig_mod.{k}": v for k, v in model.state_dict().items()},
        "optimizer": {"state": {0: torch.zeros(3)}},
        "steps": 7,
        "args": argparse.Namespace(gpt_model="GPT-XL"),
    }
    torch.save(content, tmp_path / "stage.pt")
    loaded = load_llamagen(tmp_path / "stage.pt", sizes)
    assert not loaded.training
    keep = torch.zeros(2, dtype=torch.bool)
    inputs = (io["text"], io["mask"], io["target"], keep)
    with torch.no_grad():
        assert torch.equal(loaded.forward_train(*inputs), model.forward_train(*inputs))


def test_settings_are_let_in_and_a_foreign_class_is_refused_by_name(model, sizes, tmp_path):
    content = {"model": model.state_dict(), "args": argparse.Namespace(lr=1e-4)}
    torch.save(content | {"where": Fraction(1, 2)}, tmp_path / "stage.pt")
    with pytest.raises(UserError, match=r"objects of fractions\.Fraction, whose loading"):
        load_llamagen(tmp_path / "stage.pt", sizes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("norm.weight"), "missing: norm.weight"),
        (lambda state: state.update(extra=torch.zeros(1)), "unexpected: extra"),
        (lambda state: state.update({"norm.weight": torch.zeros(3)}), "of another shape: norm"),
    ],
)
def test_keys_must_be_exact(model, sizes, tmp_path, change, message):
    state = dict(model.state_dict())
    change(state)
    torch.save({"model": state}, tmp_path / "stage.pt")
    with pytest.raises(UserError, match=message):
        load_llamagen(tmp_path / "stage.pt", sizes)


@pytest.mark.parametrize(("stage", "side"), [(1, 256), (2, 512)])
def test_published_files_and_sizes(stage, side):
    published = STAGES[stage]
    assert published.hub == "peizesun/llamagen_t2i"
    assert published.file == f"t2i_XL_stage{stage}_{side}.pt"
    with torch.device("meta"):
        network = LlamaGen(TransformerConfig.from_dict(published.config))
    assert network.config.block_size == (side // 16) ** 2
    assert network.rotary.shape == (120 + network.config.block_size, 32, 2)
    # EditAR's size exactly: it adds no parameter that sampling needs.
    assert sum(p.numel() for p in network.parameters()) == 777_678_080
    assert (CODECS[stage].file, CODECS[stage].config) == ("vq_ds16_t2i.pt", {"image_size": side})


@pytest.mark.parametrize(
    ("caption", "cleaned"),
    [
        ("A Red CUBE, next to a ball.", "a red cube, next to a ball."),
        ("a cat https://www.example.com/x_y.png on a mat", "a cat on a mat"),
        ("<b>big</b> dog &amp; small&nbsp;cat", "big dog small cat"),
        ("a&#39;b < c", "a'b < c"),
        ("photo by @nick_99 of <person>", "photo by of person"),
        ("漢字 a lamp かな", "a lamp かな"),
        ("one — two -- three", "one - two - three"),
        ("“quoted” ‘so’", "quoted\" 'so"),
        ("#123 #12345 12345678 192.168.0.1 end", "end"),
        ("holiday.jpg of a beach...sunny", "of a beach sunny"),
        ("***SALE*** [new] {x}|y", "sale new x y"),
        ("this-is-my-cute-cat", "this is my cute cat"),
        ("a-b-c-d", "a-b-c-d"),
        ("itâ€™s broken", "it†s broken"),
        ("model jc6640 and jc6640vc and 6640vc231", "model and and"),
        ("free shipping worldwide, click for more", "worldwide"),
        ("page 12 of 3x4", "of"),
        ("red ,green,blue.yellow", "red , green, blue. yellow"),
        ("'quoted as a whole'", "quoted as a whole"),
        ("a <![x b", "a <! x b"),
        ("photo &copy2024 jane", "photo copy2024 jane"),
        ("<ruby>x<rt>y</rt></ruby> <template>tt</template>z", "x z"),
        ("</style> a <style>p{}</style> b", "a b"),
        ("", ""),
    ],
)
def test_captions_are_cleaned_as_in_the_training(caption, cleaned):
    assert clean_caption(caption) == cleaned
