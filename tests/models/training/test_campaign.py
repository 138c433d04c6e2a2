"""Which pieces of earlier trainings a campaign builds upon."""

from __future__ import annotations

import pytest

from models.training.campaign import Campaign


@pytest.fixture
def places(tmp_path):
    """Tokenizers of the runs, of the shipped text encoder and of the shipped CLIP, each with its own content."""
    found = {
        "runs": tmp_path / "runs" / "spiece.model",
        "text": tmp_path / "weights" / "text" / "spiece.model",
        "clip": tmp_path / "judges" / "clip" / "spiece.model",
    }
    for name, path in found.items():
        path.parent.mkdir(parents=True)
        path.write_text(name)
    return found


def campaign(folder, continuing):
    return Campaign(
        folder / "bank", folder / "runs", "cpu", 8, 8,
        weights=folder / "weights", judges=folder / "judges", continuing=continuing,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["text", "clip"])
def test_a_network_that_goes_on_reads_with_its_own_tokenizer(places, tmp_path, name, monkeypatch):
    """Those of the shipped text encoder and CLIP number their pieces differently."""
    monkeypatch.setattr(Campaign, "bank", lambda *_: None)
    made = {"text": "text_recipe.TextRecipe", "clip": "evaluator_recipes.CLIPRecipe"}
    monkeypatch.setattr(f"models.training.{made[name]}", lambda *arguments: arguments)
    arguments = campaign(tmp_path, continuing=True).recipe(name)
    assert name.encode() in arguments
    assert b"runs" in campaign(tmp_path, continuing=False).recipe(name)


def test_without_a_tokenizer_of_its_own_a_network_shares_that_of_the_text_encoder(places, tmp_path):
    for name in ("runs", "clip"):
        places[name].unlink()
    for continuing in (True, False):
        assert campaign(tmp_path, continuing).tokenizer(places["clip"]) == b"text"
