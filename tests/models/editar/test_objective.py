"""The training loss: the published one on golden inputs, with and without distillation; layers that run again."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from models.editar.config import TransformerConfig
from models.editar.distillation import Alignment
from models.editar.objective import Objective
from models.editar.transformer import Transformer

CONFIG = TransformerConfig(
    dim=32, n_layer=3, n_head=2, vocab_size=32, block_size=16, cls_token_num=6, caption_dim=12,
    multiple_of=32,
)  # fmt: skip


@torch.no_grad()
def test_loss_of_the_published_code(transformer, golden):
    io = golden["transformer"]
    keep = torch.zeros(len(io["text"]), dtype=torch.bool)
    batch = (io["text"], io["condition_codes"], io["target_codes"], keep, keep)
    loss, entropy, distance = Objective(transformer)(*batch)
    torch.testing.assert_close(loss, io["train_loss"][0], atol=1e-4, rtol=0)
    assert torch.equal(loss, entropy) and float(distance) == 0


def inputs(width=10, batch=3):
    generator = torch.Generator().manual_seed(1)
    codes = [torch.randint(0, 32, (batch, 16), generator=generator) for _ in range(2)]
    text = torch.randn(batch, 6, 12, generator=generator)
    drop = torch.tensor([True, False, False]), torch.tensor([False, False, True])
    return [text, *codes, *drop, torch.randn(batch, 4, width, generator=generator)]


def network(**changes):
    torch.manual_seed(0)
    transformer = Transformer(CONFIG)
    torch.nn.init.normal_(transformer.output.weight, std=0.1)
    transformer.alignment = Alignment(32, 10)
    for name, value in changes.items():
        setattr(transformer, name, value)
    return Objective(transformer).train()


def test_invalid_samples_weigh_nothing_as_published():
    """Sum of the tokens' losses times valid over max(sum of valid, 1), valid repeated over the tokens."""
    module, batch = network().eval(), inputs()
    logits, _ = module.transformer.forward_train(*batch[:5])
    entropies = F.cross_entropy(logits.transpose(1, 2), batch[2], reduction="none").mean(1)

    def entropy(*valid):
        return module(*batch[:5], None, None, torch.tensor(valid))[1]

    torch.testing.assert_close(entropy(1, 1, 1), module(*batch[:5])[1])
    torch.testing.assert_close(entropy(1, 0, 1), (entropies[0] + entropies[2]) / 2)
    torch.testing.assert_close(entropy(0.5, 0.0, 0.25), (2 * entropies[0] + entropies[2]) / 3)
    assert float(entropy(0, 0, 0).detach()) == 0


def test_distillation_is_half_the_mean_square_beside_the_cross_entropy():
    module, batch = network().eval(), inputs()
    loss, entropy, distance = module(*batch)
    logits, hidden = module.transformer.forward_train(*batch[:5])
    grid = hidden.transpose(1, 2).unflatten(-1, (4, 4))
    student = F.conv2d(
        grid, module.transformer.alignment.weight, module.transformer.alignment.bias, 2
    )
    square = (student.flatten(2).transpose(1, 2) - batch[5]).square().mean()
    torch.testing.assert_close(distance, square)
    torch.testing.assert_close(entropy, F.cross_entropy(logits.flatten(0, 1), batch[2].flatten()))
    torch.testing.assert_close(loss, entropy + 0.5 * distance)


@pytest.mark.parametrize("bf16", [False, True])
def test_running_layers_again_changes_no_gradient(bf16):
    """Dropout included: the second run of a layer draws what the first one drew."""
    found = []
    for recompute in (False, True):
        module = network(recompute=recompute)
        torch.manual_seed(7)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = module(*inputs())[0]
        loss.backward()
        found.append([loss.detach(), *(p.grad for p in module.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_layers_are_run_again_only_in_training():
    module = network(recompute=True)
    runs = []
    module.transformer.layers[0].register_forward_pre_hook(lambda *_: runs.append(1))
    module(*inputs())[0].backward()
    assert len(runs) == 2
    module.eval()(*inputs())[0].backward()
    assert len(runs) == 3
