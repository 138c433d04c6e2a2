"""The recipes in the code are those that the shipped weights were made by, as the records beside them say."""

from __future__ import annotations

import inspect
import json

import pytest

from models.adapters.editar import TEMPERATURE
from models.training import (
    controlnet_recipe,
    instruct_pix2pix_recipe,
    rewarded_recipe,
    rewards,
    stable_diffusion_recipe,
)
from models.training.codec_recipe import CodecRecipe
from models.training.data import OBJECT_WEIGHT
from models.training.editar_recipe import EditARRecipe
from models.training.kl_recipe import KLRecipe
from models.training.latent_diffusion import EMA_DECAY, NOISE
from models.training.llamagen_recipe import TEXT_DROPOUT, LlamaGenRecipe
from models.training.misreading import MISREAD, OWN
from models.training.muse_recipe import MuseRecipe
from models.training.optimizers import MUON_LEARNING_RATE
from models.training.parti_recipe import PartiRecipe
from models.training.token_stream import SHARES
from models.training.var_recipe import VarRecipe
from models.weights_manifest import WEIGHTS

LATENT = {"ema_decay": EMA_DECAY, "noise": NOISE}
BY_TASK = {"shares": {task.value: share for task, share in SHARES.items()}}
CONTROL = LATENT | {"dropout": controlnet_recipe.DROPOUT}
RECIPES = {
    "codec": (CodecRecipe, {"object_weight": OBJECT_WEIGHT}),
    "controlnet-depth": (controlnet_recipe.ControlNetRecipe, CONTROL),
    "controlnet-edge": (controlnet_recipe.ControlNetRecipe, CONTROL),
    "controlnet-segmentation": (controlnet_recipe.ControlNetRecipe, CONTROL),
    "editar": (EditARRecipe, {"misread": MISREAD, "own_draws": OWN, **BY_TASK}),
    "editar-common": (EditARRecipe, {"misread": MISREAD, "distillation_weight": 0.5, **BY_TASK}),
    "instruct-pix2pix": (
        instruct_pix2pix_recipe.InstructPix2PixRecipe,
        LATENT | {"dropout": instruct_pix2pix_recipe.DROPOUT},
    ),
    "llamagen": (LlamaGenRecipe, {"text_dropout": TEXT_DROPOUT, "misread": MISREAD}),
    "muse": (MuseRecipe, BY_TASK),
    "parti": (PartiRecipe, {"misread": MISREAD, **BY_TASK}),
    "stable-diffusion": (
        stable_diffusion_recipe.StableDiffusionRecipe,
        LATENT | {"dropout": stable_diffusion_recipe.DROPOUT},
    ),
    "vae": (KLRecipe, {"object_weight": OBJECT_WEIGHT}),
    "var": (VarRecipe, BY_TASK),
}


@pytest.mark.parametrize("name", RECIPES)
def test_rates_batches_and_choices(name):
    recipe, choices = RECIPES[name]
    (record,) = (
        p for p in (WEIGHTS / name).glob("*.training.json") if not p.name.startswith("decoder")
    )
    runs = json.loads(record.read_text())["runs"]
    run = [r for r in runs if "rewards" not in r["settings"]][-1]
    defaults = inspect.signature(recipe).parameters
    assert run["learning_rate"] == defaults["learning_rate"].default
    assert run["batch_size"] == defaults["batch_size"].default
    assert run["muon_learning_rate"] == MUON_LEARNING_RATE
    assert {key: run["settings"][key] for key in choices} == choices


def test_what_editar_was_rewarded_for():
    run = json.loads((WEIGHTS / "editar" / "editar.training.json").read_text())["runs"][-1]
    defaults = inspect.signature(rewarded_recipe.RewardedRecipe).parameters
    assert run["learning_rate"] == pytest.approx(defaults["learning_rate"].default)
    assert run["batch_size"] == defaults["batch_size"].default
    assert run["muon_learning_rate"] is None
    assert rewarded_recipe.DRAWS.temperature == TEMPERATURE  # what is rewarded is what is shown
    choices = {
        "rewards": {task.value: dict(parts) for task, parts in rewards.WEIGHTS.items()},
        "drawn_shares": {t.value: share for t, share in rewarded_recipe.DRAWN_SHARES.items()},
        "temperature": rewarded_recipe.DRAWS.temperature,
        "reward": rewarded_recipe.REWARD,
        "imitation": rewarded_recipe.IMITATION,
    }
    assert {key: run["settings"][key] for key in choices} == choices
