"""The grids that the codec was chosen from: what is trained, for how long, and where it goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from editar_bench.errors import UserError
from models.editar.codec import Codec
from models.training import campaign as campaign_module
from models.training import cli
from models.training.campaign import Campaign
from models.training.families import GRIDS
from models.training.settings import CODEC
from models.training.settings import GRIDS as CONFIGS

CODEC_PARAMETERS = 2_500_000  # the most that the design allows


def test_every_grid_has_a_shape_that_its_name_says():
    assert tuple(CONFIGS) == GRIDS
    for name, config in CONFIGS.items():
        assert name == f"codec-{config.image_size}px-{config.downsampling}x"
        assert config.multiscale is None
        assert sum(p.numel() for p in Codec(config).parameters()) <= CODEC_PARAMETERS
    chosen = [c for c in CONFIGS.values() if (c.image_size, c.ch_mult) == (64, CODEC.ch_mult)]
    assert len(chosen) == 1


def test_grids_divide_the_minutes_evenly():
    budgets = cli._budgets(cli._parser().parse_args(["grids", "--minutes", "120"]))
    assert {name: budget.minutes for name, budget in budgets.items()} == dict.fromkeys(GRIDS, 30)
    with pytest.raises(UserError, match="train grids divides minutes"):
        cli._budgets(cli._parser().parse_args(["grids", "--flops", "1e9"]))


def test_a_grid_trains_on_a_bank_of_its_size_and_replaces_no_shipped_weights(monkeypatch, bank):
    asked = []

    def opened(folder, split, edits, *, size):
        asked.append((split, size))
        return bank

    monkeypatch.setattr(campaign_module, "open_bank", opened)
    campaign = Campaign(Path("bank"), Path("runs"), "cpu", 8, 8)
    recipe = campaign.recipe("codec-96px-8x")
    assert asked == [("train", 96), ("validation", 96)]
    assert (recipe.name, recipe.settings["multiscale"]) == ("codec-96px-8x", False)
    assert campaign.folder("codec-96px-8x") == Path("runs/codec-96px-8x")
