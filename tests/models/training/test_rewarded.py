"""EditAR learns from its own pictures: what is rewarded becomes likelier, and what it needs is said."""

from __future__ import annotations

import pytest
import torch

from editar_bench.errors import UserError
from models.training import rewarded_recipe
from models.training.campaign import Campaign
from models.training.reader_recipe import Reader, load_reader
from models.training.recipe import Clock
from models.training.token_stream import TASKS
from tests.models.training.test_recipes import make_rewarded


@pytest.fixture
def recipe(bank, weights, tmp_path, monkeypatch):
    monkeypatch.setattr(rewarded_recipe, "IMITATION", 0.0)
    return make_rewarded(bank, weights, tmp_path)


@pytest.fixture
def module(recipe):
    torch.manual_seed(0)
    module = recipe.build()
    torch.nn.init.normal_(module.output.weight, std=0.1)  # starts at zero
    return module.train()


def test_pictures_that_are_worth_more_become_likelier(recipe, module, monkeypatch):
    """Bright pictures are asked for."""
    monkeypatch.setattr(recipe, "_worth", lambda images, batch, bank: images.mean((1, 2, 3)))
    optimizer = torch.optim.AdamW(module.parameters(), 1e-2)

    def drawn():
        with torch.no_grad():
            return recipe.validate(module)["reward_depth"]

    before = drawn()
    for step in range(12):
        generator = torch.Generator().manual_seed(step)
        loss, figures = recipe.loss(module, Clock(step=step, share=0.5), generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert drawn() > before + 0.01
    assert any(name.startswith("drawn_") for name in figures)


def test_gradients_are_those_of_the_mean_code_vector_at_the_codes_drawn(recipe):
    """By finite differences of the decoder along the mean vector's change."""
    codec = recipe.stream.codec
    generator = torch.Generator().manual_seed(2)
    codes = torch.randint(32, (1, 256), generator=generator)
    logits = torch.randn(1, 256, 32, generator=generator).requires_grad_()
    weights = torch.randn(1, 3, 64, 64, generator=generator)
    images = recipe._pictures(codes, logits)
    assert torch.equal(images, codec.decode(codes))
    (images * weights).sum().backward()
    vectors, direction = codec.quantize.embedding.weight, torch.zeros_like(logits)
    direction[0, 17, 5] = 1.0

    def mean(step):
        return ((logits.detach() + step * direction).softmax(-1) @ vectors).mT.unflatten(
            2, (16, 16)
        )

    with torch.no_grad():
        change = 1e-2 * (mean(1e-2) - mean(-1e-2)) / 2e-2
        there = codec.quantized(codes)
        up, down = (codec.reconstruct(there + sign * change) for sign in (1, -1))
    slope = float(((up - down) * weights).sum() / 2e-2)
    assert float(logits.grad[0, 17, 5]) == pytest.approx(slope, rel=0.05, abs=1e-3)


def test_what_is_worth_the_same_whatever_is_drawn_moves_nothing(recipe, module, monkeypatch):
    monkeypatch.setattr(recipe, "_worth", lambda images, batch, bank: 0 * images.sum((1, 2, 3)))
    loss, _ = recipe.loss(module, Clock(), torch.Generator().manual_seed(1))
    loss.backward()
    assert all(p.grad is None or not p.grad.any() for p in module.parameters())


def test_the_curve_shows_every_task(recipe):
    with torch.no_grad():
        figures = recipe.validate(recipe.build().eval())
    wanted = {f"{kind}_{task.value}" for kind in ("entropy", "reward") for task in TASKS}
    assert wanted <= figures.keys()


def test_what_it_needs_is_said(tmp_path):
    def campaign(continuing):
        return Campaign(
            tmp_path / "bank", tmp_path / "runs", "cpu", 8, 8,
            weights=tmp_path / "weights", judges=tmp_path, continuing=continuing,
        )  # fmt: skip

    with pytest.raises(UserError, match="add --from weights"):
        campaign(continuing=False).recipe("rewarded")
    with pytest.raises(UserError, match="train reader"):
        campaign(continuing=True).recipe("rewarded")
    assert campaign(True).folder("rewarded") == tmp_path / "weights" / "editar"
    assert campaign(True).folder("reader") == tmp_path / "runs" / "reader"


def test_a_reader_comes_back_frozen(tmp_path):
    torch.manual_seed(0)
    made = Reader().eval()
    torch.save(made.state_dict(), tmp_path / "reader.pt")
    reader = load_reader(tmp_path / "reader.pt")
    assert not reader.training and not any(p.requires_grad for p in reader.parameters())
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        for name, read in made(images).items():
            assert read.shape[2:] == (32, 32)
            assert torch.allclose(reader(images)[name], read, atol=1e-5)


def test_draws_are_of_the_weights_of_the_moment(recipe, module):
    """The sampler keeps a network of its own between steps."""
    batch = recipe.stream.validation(TASKS[1], 4)
    text = recipe.stream.text.encode(batch.texts)

    def drawn(network, of):
        return of._drawn(network, batch, text, torch.Generator().manual_seed(5))

    first = drawn(module, recipe)
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(
                0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(6))
            )
    second = drawn(module, recipe)
    recipe._sampled = None
    assert torch.equal(second, drawn(module, recipe)) and not torch.equal(second, first)
