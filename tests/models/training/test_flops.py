import torch
from torch import nn

from models.training.flops import step_flops
from models.training.recipe import Clock


class _Recipe:
    """A product of known size, behind a frozen one that is cached after its first use."""

    def __init__(self):
        self.cached = None
        self.draws = []

    def loss(self, module, clock, generator):
        self.draws.append(torch.randn(5, 7, generator=generator))
        if self.cached is None:
            self.cached = torch.ones(50, 70) @ torch.ones(70, 110)
        module.calls += 1
        return module.layer(self.draws[-1]).sum(), {}


class _Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(7, 11)
        self.register_buffer("calls", torch.zeros(()))


def test_operations_by_hand():
    """Forward 2 * 5 * 7 * 11, as many again for the weight's gradient; none for the input's or the cached product."""
    assert step_flops(_Recipe(), _Counting(), Clock(), torch.Generator()) == 2 * 2 * 5 * 7 * 11


def test_counting_leaves_no_trace():
    recipe, module, generator = _Recipe(), _Counting(), torch.Generator().manual_seed(3)
    before, everywhere = generator.get_state(), torch.get_rng_state()
    step_flops(recipe, module, Clock(), generator)
    assert module.calls == 0
    assert module.layer.weight.grad is None
    assert torch.equal(generator.get_state(), before)
    assert torch.equal(torch.get_rng_state(), everywhere)
    assert torch.equal(recipe.draws[0], recipe.draws[1])


def test_attention_is_counted_whatever_kernel_runs_it():
    class Attends:
        def loss(self, module, clock, generator):
            x_BHLK = module.layer(torch.ones(1, 2, 6, 7))
            return nn.functional.scaled_dot_product_attention(x_BHLK, x_BHLK, x_BHLK).sum(), {}

    products = (
        2 * 2 * 6 * 6 * 11
    )  # of two heads: one product of (6, 11) and (11, 6), or of (6, 6) and (6, 11)
    linear = 2 * 12 * 7 * 11
    assert step_flops(Attends(), _Counting(), Clock(), torch.Generator()) == (
        2 * linear + 2 * products + 4 * products
    )
