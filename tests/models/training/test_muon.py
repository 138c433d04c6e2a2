"""Muon against a singular value decomposition, what it takes, and that it learns."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.training import muon
from models.training.muon import MOMENTUM, Muon, hidden_matrices, orthogonal


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 5, 20), (1, 20, 5)])
def test_orthogonal_keeps_the_singular_vectors_and_evens_out_the_values(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, s, vh = torch.linalg.svd(x, full_matrices=False)
    seen = u.mT @ orthogonal(x) @ vh.mT  # diagonal in the basis of the input's singular vectors
    diagonal = seen.diagonal(dim1=1, dim2=2)
    # The quintic brings values above a hundredth of the norm to about 1 in five rounds.
    large = s > 0.02 * s.norm(dim=1, keepdim=True)
    assert ((diagonal > 0.6) & (diagonal < 1.3))[large].all()
    assert (seen - torch.diag_embed(diagonal)).abs().max() < 1e-6


def test_matrices_are_treated_one_by_one():
    x = torch.randn(4, 6, 9, generator=torch.Generator().manual_seed(1))
    alone = torch.cat([orthogonal(m[None]) for m in x])
    assert torch.allclose(orthogonal(x), alone, atol=1e-5)
    assert not orthogonal(torch.zeros(1, 3, 3)).any()


def test_inputs_read_outs_and_embeddings_are_left_to_adamw():
    module = nn.ModuleDict(
        {
            "picture": nn.Conv2d(3, 32, 3),
            "kernel": nn.Conv2d(32, 48, 3),
            "hidden": nn.Linear(32, 128),
            "vocabulary": nn.Linear(32, 129),
            "embedding": nn.Embedding(64, 32),
            "norm": nn.LayerNorm(32),
            "attention": nn.MultiheadAttention(32, 4),
            "frozen": nn.Linear(32, 32).requires_grad_(False),
        }
    )
    found = {id(p) for p in hidden_matrices(module)}
    names = {name for name, p in module.named_parameters() if id(p) in found}
    assert names == {
        "kernel.weight", "hidden.weight", "attention.in_proj_weight", "attention.out_proj.weight",
    }  # fmt: skip


def test_the_published_numbers():
    """Of the author's reference implementation."""
    assert (muon.MOMENTUM, muon._ITERATIONS, muon._QUINTIC) == (0.95, 5, (3.4445, -4.7750, 2.0315))


def test_the_first_step_by_hand():
    weight = nn.Parameter(torch.zeros(20, 5, dtype=torch.float64))
    gradient = torch.randn(20, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    weight.grad = gradient.clone()
    Muon([weight], lr=0.1, dtype=torch.float64).step()
    average = (1 - MOMENTUM) * gradient
    momentum = (1 - MOMENTUM) * gradient + MOMENTUM * average
    expected = -0.1 * (20 / 5) ** 0.5 * orthogonal(momentum[None])[0]
    assert torch.allclose(weight.detach(), expected)


def test_a_kernel_moves_like_its_flattened_matrix_and_state_resumes():
    generator = torch.Generator().manual_seed(3)
    gradients = [torch.randn(16, 16, 3, 3, generator=generator) for _ in range(3)]

    def run(kernel, optimizer, some):
        for gradient in some:
            kernel.grad = gradient.view_as(kernel).clone()
            optimizer.step()

    kernel = nn.Parameter(torch.zeros(16, 16, 3, 3).contiguous(memory_format=torch.channels_last))
    matrix, half = nn.Parameter(torch.zeros(16, 144)), nn.Parameter(torch.zeros(16, 144))
    run(kernel, Muon([kernel], 0.1, torch.float32), gradients)
    run(matrix, Muon([matrix], 0.1, torch.float32), gradients)
    first = Muon([half], 0.1, torch.float32)
    run(half, first, gradients[:2])
    second = Muon([half], 0.1, torch.float32)
    second.load_state_dict(first.state_dict())
    run(half, second, gradients[2:])
    assert torch.allclose(kernel.detach().flatten(1), matrix.detach(), atol=1e-6)
    assert torch.equal(matrix, half)
