"""What EditAR's recipe hands to the loss: each condition dropped by its own draw, the teacher's view of the targets."""

from __future__ import annotations

import torch
from torch import nn

from models.editar.config import TransformerConfig
from models.training import editar_recipe
from models.training.data import rgb
from models.training.editar_recipe import EditARRecipe
from models.training.recipe import Clock
from tests.models.training.conftest import SIZES


class Colors(nn.Module):
    """A teacher that sees the mean color of every patch."""

    name, width = "colors", 3

    def forward(self, images):
        return nn.functional.avg_pool2d(images, 8).flatten(2).transpose(1, 2)


def test_arguments_of_the_loss(bank, weights, monkeypatch):
    text, image = torch.tensor([True, False, False, True]), torch.tensor([True, True, False, False])
    monkeypatch.setattr(editar_recipe, "joint_dropout", lambda count, generator: (text, image))
    recipe = EditARRecipe(TransformerConfig(**SIZES), bank, bank, weights, Colors(), batch_size=4)
    batch = recipe.stream.batch(4, torch.Generator().manual_seed(3))
    monkeypatch.setattr(recipe.stream, "batch", lambda *_: batch)
    seen = []

    def loss(module, *arguments):
        seen.extend(arguments)
        return (torch.zeros(()),) * 3

    monkeypatch.setattr(editar_recipe, "editar_loss", loss)
    recipe.loss(recipe.build(), Clock(), torch.Generator().manual_seed(4))
    features, condition, target, drop_text, drop_image, patches, read = seen
    assert torch.equal(features, recipe.stream.text.encode(batch.texts))
    assert condition is batch.condition_BN and target is batch.target_BM
    assert torch.equal(drop_text, text) and torch.equal(drop_image, image)
    assert torch.equal(patches, Colors()(rgb(bank, batch.rows)))
    assert read.shape == target.shape and 0 < int((read != target).sum()) < target.numel() / 2
