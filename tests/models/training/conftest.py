"""A bank of a few pictures, and the frozen networks that recipes build upon."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from data_prep.scenes.constants import IMAGE_SIZE
from data_prep.scenes.stream import draw
from models.editar.text import train_tokenizer
from models.training.bank import Bank, _record
from models.training.kl_recipe import KLRecipe
from models.training.stable_diffusion_recipe import StableDiffusionRecipe
from tests.models.making import write_codec, write_text

EDITS, SLOTS = 8, 40
SCALES = (1, 4, IMAGE_SIZE // 4)  # of the pyramid of `root`
SIZES = {
    "dim": 32, "n_layer": 1, "n_head": 4, "vocab_size": 32, "block_size": (IMAGE_SIZE // 4) ** 2,
    "cls_token_num": SLOTS, "caption_dim": 32, "multiple_of": 32, "token_dropout": 0.0,
    "residual_dropout": 0.0, "ffn_dropout": 0.0,
}  # fmt: skip
LEVELS = {"rgb": 256, "depth": 256, "label": 9, "color": 9, "material": 4, "edge": 2, "normal": 256}


@pytest.fixture(scope="session")
def bank():
    """Blocks of random color, with texts of real edits."""
    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    block = np.ones((1, IMAGE_SIZE // 8, IMAGE_SIZE // 8), np.uint8)
    maps = {}
    for name, levels in LEVELS.items():
        channels = 3 if name in ("rgb", "normal") else 1
        coarse = generator.integers(0, levels, (channels, 2 * EDITS, 8, 8), dtype=np.uint8)
        fine = np.stack([np.kron(plane, block) for plane in coarse], -1)
        maps[name] = fine if channels == 3 else fine[..., 0]
    maps["edge"] = maps["edge"] * 255
    half = IMAGE_SIZE // 2  # the edits change the right halves only
    maps["rgb"][1::2, :, :half] = maps["rgb"][0::2, :, :half]
    return Bank(maps, [_record(draw("train", "edit", i)) for i in range(EDITS)])


@pytest.fixture(scope="session")
def tokenizer(bank):
    return train_tokenizer([r["instruction"] for r in bank.texts] * 4, 100)


@pytest.fixture(scope="session")
def weights(bank, tmp_path_factory):
    """Frozen networks that the generators' recipes read; autoencoder and Stable Diffusion from their own recipes."""
    root = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    write_text(root / "text", width=32, slots=SLOTS)
    write_codec(root / "codec", IMAGE_SIZE, (1, 1, 1))
    recipe = KLRecipe(bank, bank)
    recipe.export(recipe.build(), root / "vae")
    recipe = StableDiffusionRecipe(bank, bank, root)
    recipe.export(recipe.build(), root / "stable-diffusion")
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A codec with a pyramid, and a text encoder."""
    root = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    write_text(root / "text", width=32, slots=SLOTS)
    write_codec(root / "codec", IMAGE_SIZE, (1, 1, 1), multiscale=SCALES)
    return root
