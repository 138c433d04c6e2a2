"""Recipes of Parti and LlamaGen: a step repeats, bf16 is near, files come back, and what each one reads."""

from __future__ import annotations

import json
from dataclasses import replace
from math import log

import numpy as np
import pytest
import torch

from data_prep.scenes.constants import IMAGE_SIZE
from editar_bench.types import Task
from models.compact.parti import PartiConfig
from models.editar.config import TransformerConfig
from models.training.data import captions
from models.training.llamagen_recipe import LlamaGenRecipe
from models.training.parti_recipe import PartiRecipe
from models.training.pointing import SHARPNESS
from models.training.recipe import Clock
from models.weights_manifest import partners
from tests.models.training.conftest import SIZES


@pytest.fixture(params=["parti", "llamagen"])
def recipe(request, bank, weights):
    if request.param == "parti":
        config = PartiConfig(**SIZES, encoder_layers=1)
        return PartiRecipe(config, bank, bank, weights, batch_size=4)
    return LlamaGenRecipe(TransformerConfig(**SIZES), bank, bank, weights, batch_size=4)


def step(recipe, bf16=False):
    torch.manual_seed(0)
    module = recipe.build().train()
    generator = torch.Generator().manual_seed(3)
    torch.nn.init.normal_(module.output.weight, std=0.1)  # a head of zeros passes no gradient on
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss, parts = recipe.loss(module, Clock(), generator)
    loss.backward()
    return module, float(loss.detach()), parts


def test_a_step_repeats_and_reaches_every_part(recipe):
    json.dumps(recipe.settings)
    module, loss, parts = step(recipe)
    assert step(recipe)[1] == loss
    assert np.isfinite([loss, *parts.values()]).all()
    still = [n for n, p in module.named_parameters() if p.grad is None or not p.grad.any()]
    assert set(still) <= {"null_image_D"}  # no condition was dropped from these four


def test_wrong_codes_are_read_and_the_true_ones_asked_for(recipe, monkeypatch):
    """In training; in validation the true ones are read."""
    name = type(recipe).__module__
    monkeypatch.setattr(f"{name}.misread", lambda codes, size, generator: torch.zeros_like(codes))
    module, read = recipe.build().train(), []
    forward = module.forward_train
    monkeypatch.setattr(module, "forward_train", lambda *a: read.append(a[2]) or forward(*a))
    torch.nn.init.normal_(module.output.weight, std=0.1)
    _, parts = recipe.loss(module, Clock(), torch.Generator().manual_seed(3))
    assert not read[0].any()
    target = recipe.stream.batch(4, torch.Generator().manual_seed(3)).target_BM
    assert target.any()
    with torch.no_grad():
        recipe.validate(module.eval())
    assert len(read) > 1 and all(codes.any() for codes in read[1:])


def test_llamagen_loses_a_tenth_of_its_captions(bank, weights, monkeypatch):
    """As published; its validation says what they are worth."""
    recipe = LlamaGenRecipe(TransformerConfig(**SIZES), bank, bank, weights, batch_size=500)
    module, dropped = recipe.build().train(), []
    batch = recipe.stream.validation(Task.EDIT)
    monkeypatch.setattr(recipe.stream, "batch", lambda *_: replace(batch, texts=[""] * 500))

    def forward(text, mask, codes, drop):
        dropped.append(drop)
        return torch.zeros(*codes.shape, 32)

    monkeypatch.setattr(module, "forward_train", forward)
    for seed in range(20):
        recipe.loss(module, Clock(), torch.Generator().manual_seed(seed))
    assert float(torch.cat(dropped).float().mean()) == pytest.approx(0.1, abs=0.01)
    dropped.clear()
    assert list(recipe.validate(module)) == ["entropy_caption", "entropy_null"]
    assert [bool(drop.any()) for drop in dropped] == [False, True] and dropped[1].all()


def test_a_step_in_bf16_is_near_the_one_in_float32(recipe):
    assert step(recipe, bf16=True)[1] == pytest.approx(step(recipe)[1], rel=0.05)


def test_files_come_back(recipe, weights, tmp_path):
    module, _, _ = step(recipe)
    recipe.export(module, tmp_path)
    other = recipe.build()
    recipe.load(other, tmp_path)
    for name, value in module.state_dict().items():
        assert torch.allclose(other.state_dict()[name], value, atol=1e-3, rtol=1e-3), name
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["transformer"]["dim"] == 32
    assert {k: config[k] for k in ("codec", "text")} == {"codec": "../codec", "text": "../text"}
    assert {k: config[k] for k in partners(weights)} == partners(weights)


def test_a_fresh_network_knows_nothing(recipe):
    with torch.no_grad():
        figures = recipe.validate(recipe.build().eval())
    assert figures
    for value in figures.values():
        assert value == pytest.approx(log(32), abs=1e-5)


def test_llamagen_reads_the_captions_of_the_targets(bank, weights):
    recipe = LlamaGenRecipe(TransformerConfig(**SIZES), bank, bank, weights)
    batch = recipe.stream.batch(6, torch.Generator().manual_seed(0))
    expected = [bank.texts[row // 2]["captions"][row % 2] for row in batch.rows]
    assert captions(bank, batch.rows) == expected
    assert not any(text.startswith("Given the") for text in expected)


def test_parti_starts_at_the_condition(bank, weights):
    recipe = PartiRecipe(PartiConfig(**SIZES, encoder_layers=1), bank, bank, weights)
    cross = recipe.build().layers[0].cross
    lengths = cross.place_query_HK.unflatten(-1, (-1, 2)).square().sum(-1)
    assert (lengths[:3, 0] - SHARPNESS).abs().max() < 1e-3
    assert lengths[3].max() == 0


def test_the_sheet_of_llamagen_shows_what_it_makes_above_the_truth(bank, weights):
    recipe = LlamaGenRecipe(TransformerConfig(**SIZES), bank, bank, weights)
    sheet = recipe.sheet(recipe.build().eval())
    assert sheet.dtype == np.uint8
    assert sheet.shape == (2 * IMAGE_SIZE, len(bank) * IMAGE_SIZE, 3)


def test_codes_for_the_sheet_of_parti(bank, weights):
    recipe = PartiRecipe(PartiConfig(**SIZES, encoder_layers=1), bank, bank, weights)
    batch = recipe.stream.validation(Task.DEPTH)
    codes = recipe.generate(recipe.build().eval(), batch)
    assert codes.shape == batch.target_BM.shape
    assert 0 <= codes.min() <= codes.max() < 32
