"""The estimate follows from shapes; here the shapes are counted."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from models.editar.config import TransformerConfig
from models.editar.distillation import Alignment
from models.editar.objective import Objective
from models.editar.transformer import Transformer
from models.training.paper import estimate
from models.training.paper.estimate import Plan

SMALL = TransformerConfig(
    dim=64, n_layer=2, n_head=2, vocab_size=64, block_size=64, cls_token_num=8, caption_dim=24,
    multiple_of=64,
)  # fmt: skip
WIDTH = 48


def network(config=SMALL):
    transformer = Transformer(config)
    transformer.alignment = Alignment(config.dim, WIDTH)
    return Objective(transformer).train()


def batch(samples=2, device="cpu"):
    codes = torch.zeros(samples, SMALL.block_size, dtype=torch.long, device=device)
    keep = torch.zeros(samples, dtype=torch.bool, device=device)
    text = torch.zeros(samples, SMALL.cls_token_num, SMALL.caption_dim, device=device)
    patches = torch.zeros(samples, SMALL.block_size // 4, WIDTH, device=device)
    return text, codes, codes, keep, keep, patches


def test_the_released_sizes():
    config = TransformerConfig()
    assert estimate.trained_parameters(config, 768) == 781_611_008  # of the published file
    assert estimate.positions(config) == 2167


def test_parameters_are_those_of_the_network():
    count = sum(p.numel() for p in network().parameters())
    assert estimate.trained_parameters(SMALL, WIDTH) == count


def test_operations_are_those_of_the_network():
    with torch.device("meta"):
        module = network()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module(*batch(3, "meta"))[0].backward()
    length = estimate.positions(SMALL)
    # The counter sees the masked half of the attention as well, of which only the other half is work.
    masked = 3 * 2 * length**2 * SMALL.dim * SMALL.n_layer
    expected = estimate.flops_a_sample(SMALL, WIDTH) + masked
    # Inputs that are no parameters need no gradient: nothing goes back through the text's first layer.
    spared = 2 * SMALL.cls_token_num * SMALL.caption_dim * SMALL.dim
    assert counter.get_total_flops() / 3 == pytest.approx(expected - spared, rel=1e-3)


def kept_bytes(samples, layers, monkeypatch):
    """Bytes that autograd keeps in a forward pass in bfloat16, parameters not counted, each storage once."""
    config = TransformerConfig(
        dim=64, n_layer=layers, n_head=2, vocab_size=64, block_size=64, cls_token_num=8,
        caption_dim=24, multiple_of=64,
    )  # fmt: skip
    monkeypatch.setattr(
        "models.editar.transformer.causal_attention",
        lambda q, k, v, *_: F.scaled_dot_product_attention(q, k, v, is_causal=True),
    )
    module = network(config)
    own = {t.untyped_storage().data_ptr() for t in (*module.parameters(), *module.buffers())}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (
                storage.nbytes(),
                tensor,
            )  # held, so that no address is used twice
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16),
    ):
        module(*batch(samples))
    return sum(size for size, _ in kept.values())


def test_bytes_of_a_layer_are_those_that_autograd_keeps(monkeypatch):
    few, many = ([kept_bytes(n, k, monkeypatch) for k in (1, 3)] for n in (2, 4))
    a_layer = ((many[1] - many[0]) - (few[1] - few[0])) / 2 / 2 / estimate.positions(SMALL)
    # CPUs keep dropout masks in the type of the values.
    assert a_layer == pytest.approx(estimate.layer_bytes(SMALL, mask=2), rel=0.02)


def plan(**changes):
    values = {
        "config": TransformerConfig(),
        "teacher_width": 768,
        "steps": 40_000,
        "batch": 64,
        "micro_batch": 8,
        "lanes": 8,
        "recompute": False,
        "sharded": False,
    }
    return Plan(**(values | changes))


def whole(**changes):
    return sum(estimate.memory_of_a_device(plan(**changes), 8).values())


def test_what_saves_memory_and_what_takes_time():
    assert whole(recompute=True) < whole(micro_batch=2) < whole()
    assert whole(sharded=True) < whole()
    h100 = estimate.DEVICES[0]
    assert estimate.seconds_a_step(plan(recompute=True), h100, 8) > estimate.seconds_a_step(
        plan(), h100, 8
    )
    assert estimate.seconds_a_step(plan(), h100, 8) == pytest.approx(
        estimate.seconds_a_step(plan(), h100, 1) / 8
    )


def test_known_devices():
    assert estimate.peak_flops("NVIDIA H100 80GB HBM3") == 989e12
    assert estimate.peak_flops("some other") is None
    for other in ("NVIDIA RTX A1000", "NVIDIA H100 PCIe", "NVIDIA H100 NVL"):
        assert estimate.peak_flops(other) is None
