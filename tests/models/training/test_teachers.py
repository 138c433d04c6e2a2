"""What EditAR is distilled from, and which tasks an ablation sees."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch

from editar_bench.builtin import MODELS
from editar_bench.errors import MissingWeights, UserError
from editar_bench.evaluators.pretrained import load_clip
from editar_bench.types import Task
from models import weights_manifest
from models.adapters.ablations import EditarAblation, NoDistillation
from models.training import cli, settings
from models.training.campaign import _RECIPES, SHARES, Campaign
from models.training.editar_recipe import EditARRecipe
from models.training.families import ABLATIONS
from models.training.recipe import Clock
from models.training.settings import EDITAR
from models.training.teacher_recipe import WIDTH, Teacher
from models.training.teachers import judging_clip, own_teacher

SMALL = replace(
    EDITAR, dim=32, n_layer=1, n_head=4, vocab_size=32, cls_token_num=40, caption_dim=32
)


def test_the_judging_clip_gives_its_last_patch_tokens():
    teacher, clip = judging_clip(), load_clip().clip.visual
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    clip.output_tokens = True
    with torch.no_grad():
        tokens = clip(images)[1]
    assert torch.allclose(teacher(images), tokens, atol=1e-6)
    side = EDITAR.side // 2  # what the alignment convolution makes of the hidden states
    assert tokens.shape == (2, side**2, teacher.width)


def test_a_teacher_is_frozen_and_a_missing_one_is_said(tmp_path):
    with pytest.raises(UserError, match="train teacher"):
        own_teacher(tmp_path / "teacher.pt")
    torch.manual_seed(0)
    torch.save(Teacher().state_dict(), tmp_path / "teacher.pt")
    teacher = own_teacher(tmp_path / "teacher.pt")
    features = teacher(torch.zeros(1, 3, 64, 64))
    assert features.shape[-1] == teacher.width == WIDTH
    assert not features.requires_grad and not any(p.requires_grad for p in teacher.parameters())


def test_no_distillation_and_one_task_alone(bank, weights):
    recipe = EditARRecipe(SMALL, bank, bank, weights, None, shares={Task.DEPTH: 1.0})
    assert recipe.settings["shares"] == {"depth": 1.0}
    assert recipe.settings["distillation_weight"] == 0.0
    drawn = recipe.stream.batch(16, torch.Generator().manual_seed(0))
    assert all(text.startswith("Given the depth image") for text in drawn.texts)
    _, parts = recipe.loss(recipe.build(), Clock(), torch.Generator().manual_seed(0))
    assert set(parts) == {"entropy"}


def test_a_continuation_reads_its_own_draws(bank, weights, tmp_path, monkeypatch):
    shares = {Task.DEPTH: 0.5, Task.EDGE: 0.5}
    recipe = EditARRecipe(SMALL, bank, bank, weights, None, shares=shares, batch_size=32)
    module, read = recipe.build(), []
    forward = module.forward_train
    monkeypatch.setattr(module, "forward_train", lambda *a: read.append(a[2]) or forward(*a))

    def wrong():
        """The share of codes that the last pass, which is trained, reads wrong."""
        recipe.loss(module, Clock(), torch.Generator().manual_seed(0))
        target = recipe.stream.batch(32, torch.Generator().manual_seed(0)).target_BM
        return float((read[-1] != target).float().mean())

    assert wrong() == pytest.approx(0.1, abs=0.04) and len(read) == 1
    recipe.export(module, tmp_path)
    recipe.load(module, tmp_path)
    assert recipe.settings["own_draws"] == 0.5
    # An untrained model draws any of 32 codes: half of what is left right by the other rule is wrong too.
    assert wrong() == pytest.approx(0.1 + 0.9 * 0.5, abs=0.1) and len(read) == 3


def test_a_continuation_reads_a_quarter_of_the_edits_as_the_source_picture(
    bank, weights, tmp_path, monkeypatch
):
    recipe = EditARRecipe(SMALL, bank, bank, weights, None, shares={Task.EDIT: 1}, batch_size=64)
    module, passes = recipe.build(), []
    forward = module.forward_train
    monkeypatch.setattr(module, "forward_train", lambda *a: passes.append(a) or forward(*a))

    def sources():
        """How many samples are trained behind the source picture's codes alone."""
        recipe.loss(module, Clock(), torch.Generator().manual_seed(0))
        condition_BN, read_BM = passes[-1][1:3]
        return int((condition_BN == read_BM).all(1).sum())

    assert sources() == 0
    recipe.export(module, tmp_path)
    recipe.load(module, tmp_path)
    assert recipe.settings["hidden"] == 0.5
    assert sources() == pytest.approx(16, abs=10)


def test_what_goes_on_from_shipped_weights_needs_no_teacher(bank, weights, tmp_path, monkeypatch):
    monkeypatch.setattr(Campaign, "bank", lambda *_: bank)
    monkeypatch.setattr(settings, "EDITAR", SMALL)
    places = {"bank_folder": tmp_path, "runs": tmp_path, "weights": weights}
    campaign = partial(Campaign, **places, device="cpu", train_edits=1, evaluator_edits=1)
    with pytest.raises(UserError, match="train teacher"):
        campaign().recipe("editar")
    recipe = campaign(continuing=True).recipe("editar")
    assert recipe.settings["distillation_weight"] == 0.0 and recipe.settings["teacher"] == ""
    for given, left_out in (([], set()), (["--from", "weights"], {"teacher"})):
        budgets = cli._budgets(cli._parser().parse_args(["all", "--minutes", "60", *given]))
        assert set(SHARES) - set(budgets) == left_out
        assert sum(b.minutes for b in budgets.values()) == pytest.approx(60)


def test_every_ablation_can_be_trained_and_run():
    assert set(ABLATIONS) <= set(_RECIPES) & set(MODELS)


def test_weights_that_are_not_shipped_say_how_they_are_made(monkeypatch, tmp_path):
    monkeypatch.setattr(EditarAblation, "root", tmp_path)
    with pytest.raises(MissingWeights, match="train ablations --flops"):
        NoDistillation()


@pytest.mark.parametrize(
    ("wanted", "options", "names"),
    [
        ("ablations", ["--flops", "1e9"], ABLATIONS),
        ("editar-depth-only", [], ("editar-depth-only",)),
    ],
)
def test_ablations_have_a_folder_of_their_own(wanted, options, names):
    parsed = cli._parser().parse_args([wanted, *options])
    budgets = cli._budgets(parsed)
    assert tuple(budgets) == names
    assert cli._root(parsed.weights, budgets) == weights_manifest.ABLATIONS
    assert cli._root(None, ["editar", *names]) is None
