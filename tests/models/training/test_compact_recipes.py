"""Recipes of Muse and VAR: a step repeats, bf16 is near, files come back, the start looks at the condition."""

from __future__ import annotations

import json
from dataclasses import replace
from math import log

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from data_prep.scenes.constants import IMAGE_SIZE
from models.compact.folder import load_folder
from models.compact.muse import Muse, random_mask
from models.compact.var import Var, VarConfig
from models.editar.config import TransformerConfig
from models.training.muse_recipe import LABEL_SMOOTHING, MuseRecipe
from models.training.recipe import Clock
from models.training.settings import MUSE, VAR
from models.training.var_recipe import VarRecipe
from models.weights_manifest import partners
from tests.models.training.conftest import SCALES, SIZES


@pytest.fixture(scope="module", params=["muse", "var"])
def recipe(request, bank, root):
    if request.param == "muse":
        return MuseRecipe(TransformerConfig(**SIZES), bank, bank, root, batch_size=4)
    config = VarConfig(**SIZES, scales=SCALES, code_dim=4)
    return VarRecipe(config, bank, bank, root, batch_size=4)


def step(recipe, bf16=False):
    torch.manual_seed(0)
    module = recipe.build().train()
    torch.nn.init.normal_(module.output.weight, std=0.1)  # a head of zeros passes no gradient on
    generator = torch.Generator().manual_seed(3)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss, parts = recipe.loss(module, Clock(), generator)
    loss.backward()
    return module, float(loss.detach()), parts


def test_a_step_repeats_and_reaches_every_part(recipe):
    json.dumps(recipe.settings)
    module, loss, parts = step(recipe)
    assert step(recipe)[1] == loss
    assert np.isfinite([loss, *parts.values()]).all()
    assert not [n for n, p in module.named_parameters() if p.grad is None or not p.grad.any()]


def test_a_step_in_bf16_is_near_the_one_in_float32(recipe):
    assert step(recipe, bf16=True)[1] == pytest.approx(step(recipe)[1], rel=0.05)


def test_files_come_back(recipe, root, tmp_path):
    module, _, _ = step(recipe)
    recipe.export(module, root / recipe.name)
    other = recipe.build()
    recipe.load(other, root / recipe.name)
    kind = type(module)
    parts = load_folder(root / recipe.name, lambda c: kind(type(recipe.config).from_dict(c)))
    for name, value in module.state_dict().items():
        for loaded in (other, parts.network):
            assert torch.allclose(loaded.state_dict()[name], value, atol=1e-3, rtol=1e-3), name
    assert parts.network.config == recipe.config
    assert not parts.network.training
    config = json.loads((root / recipe.name / "config.json").read_text())
    assert config.items() >= partners(root).items()


@torch.no_grad()
def test_validation_is_plain_cross_entropy_and_repeats(recipe):
    module = recipe.build().eval()
    assert list(recipe.validate(module).values()) == pytest.approx([log(32)] * 4, abs=1e-5)
    torch.nn.init.normal_(module.output.weight, std=0.1)
    torch.manual_seed(1)
    once = recipe.validate(module)
    torch.manual_seed(2)
    assert recipe.validate(module) == once


def test_muse_trains_on_smoothed_labels_of_masked_codes(bank, root):
    recipe = MuseRecipe(TransformerConfig(**SIZES), bank, bank, root, batch_size=4)
    module = step(recipe)[0].eval()
    batch = recipe.stream.batch(4, torch.Generator().manual_seed(1))
    keep = torch.zeros(4, dtype=torch.bool)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(5)
        loss, entropy = recipe.losses(module, batch, keep, keep, generator)
        masked = random_mask(4, SIZES["block_size"], torch.Generator().manual_seed(5))
        text = recipe.stream.text.encode(batch.texts)
        logits = module.forward_train(text, batch.condition_BN, batch.target_BM, masked, keep, keep)
    target = batch.target_BM[masked]
    assert LABEL_SMOOTHING == 0.1  # as published for MaskGIT
    smoothed = F.cross_entropy(logits, target, label_smoothing=LABEL_SMOOTHING)
    assert float(loss) == pytest.approx(float(smoothed), abs=1e-5)
    assert float(entropy) == pytest.approx(float(F.cross_entropy(logits, target)), abs=1e-5)
    assert abs(float(loss - entropy)) > 1e-3


def test_conditions_are_dropped_each_by_its_own_draw(recipe, monkeypatch):
    text, image = torch.tensor([True, False, False, True]), torch.tensor([True, True, False, False])
    drop = "models.training.compact_recipe.joint_dropout"
    monkeypatch.setattr(drop, lambda count, generator: (text, image))
    module, seen = recipe.build(), []
    forward = module.forward_train
    monkeypatch.setattr(module, "forward_train", lambda *a: seen.append(a[-2:]) or forward(*a))
    recipe.loss(module, Clock(), torch.Generator().manual_seed(0))
    assert torch.equal(seen[0][0], text) and torch.equal(seen[0][1], image)


@torch.no_grad()
def test_every_scale_of_var_counts_alike_and_its_figure_is_the_plain_mean(bank, root):
    recipe = VarRecipe(VarConfig(**SIZES, scales=SCALES, code_dim=4), bank, bank, root)
    batch, keep = (
        recipe.stream.batch(2, torch.Generator().manual_seed(1)),
        torch.tensor([False] * 2),
    )
    module = recipe.build().eval()
    sizes = [side**2 for side in SCALES]
    # Logits of which the entropies are known: log 2, log 4 and log 8 in the codes of the three scales.
    logits = torch.full((2, sum(sizes), 32), -torch.inf)
    for k, places in enumerate(torch.arange(sum(sizes)).split(sizes)):
        logits[:, places] = logits[:, places].index_fill(2, torch.arange(2 << k), 0.0)
    target = torch.zeros_like(batch.target_BM)
    module.forward_train = lambda *_: logits
    loss, entropy = recipe.losses(module, replace(batch, target_BM=target), keep, keep, None)
    assert float(loss) == pytest.approx(2 * log(2))
    plain = sum((k + 1) * n for k, n in enumerate(sizes)) * log(2) / sum(sizes)
    assert float(entropy) == pytest.approx(plain)


def test_sheets(recipe):
    module = step(recipe)[0].eval()
    sheet = recipe.sheet(module)
    assert sheet.shape[0] == 12 * IMAGE_SIZE and sheet.shape[1] % IMAGE_SIZE == 0


@pytest.mark.parametrize(("kind", "config"), [(Muse, MUSE), (Var, VAR)])
def test_shipped_sizes_stay_within_the_budget(kind, config):
    with torch.device("meta"):
        count = sum(p.numel() for p in kind(config).parameters())
    assert 1.9e6 < count <= 2.0e6
