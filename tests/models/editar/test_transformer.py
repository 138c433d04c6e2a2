from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from editar_bench.errors import UserError
from models.editar.config import TransformerConfig
from models.editar.distillation import Alignment, distillation_loss
from models.editar.rotary import rotary_table, rotate
from models.editar.transformer import RMSNorm, Transformer, joint_dropout

COUNTS = {
    "GPT-B": 112_282_368,
    "GPT-L": 345_031_680,
    "GPT-XL": 777_678_080,
    "GPT-XXL": 1_414_940_160,
    "GPT-XXXL": 3_902_261_760,
    "GPT-1B": 1_205_954_560,
    "GPT-3B": 3_110_249_600,
    "GPT-7B": 6_635_655_168,
}
# Position: (cos, sin) of pairs 0, 1, 15, 16, 17 and 31.
ROTARY = {
    0: [(1, 0)] * 6,
    1: [(1, 0), (1, 0), (1, 0), (0.540302, 0.841471), (0.846009, 0.533168), (1, 0.000178)],
    32: [(0.540302, 0.841471), (0.846009, 0.533168), (1, 0.000178), (1, 0), (1, 0), (1, 0)],
    1023: [(0.914742, -0.404038), (0.153215, -0.988193), (0.999985, 0.005513)] * 2,
    1024: [(0, 0)] * 6,
    1143: [(0, 0)] * 6,
    1144: [(0.834223, 0.551427), (0.656495, -0.754330), (0.999984, 0.005690)] * 2,
    1145: [
        (0.834223, 0.551427),
        (0.656495, -0.754330),
        (0.999984, 0.005690),
        (-0.013277, 0.999912),
        (0.957586, -0.288147),
        (0.999983, 0.005868),
    ],
    2167: [(0.985897, 0.167356), (-0.644837, -0.764320), (0.999937, 0.011203)] * 2,
}


SIZES = {  # name: (layers, heads, width); EditAR's released weights are GPT-XL
    "GPT-B": (12, 12, 768),
    "GPT-L": (24, 16, 1024),
    "GPT-XL": (36, 20, 1280),
    "GPT-XXL": (48, 24, 1536),
    "GPT-XXXL": (48, 40, 2560),
    "GPT-1B": (22, 32, 2048),
    "GPT-3B": (24, 32, 3200),
    "GPT-7B": (32, 32, 4096),
}


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts(name):
    with torch.device("meta"):
        layers, heads, width = SIZES[name]
        model = Transformer(TransformerConfig(n_layer=layers, n_head=heads, dim=width))
    assert sum(p.numel() for p in model.parameters()) == COUNTS[name]


def test_released_keys():
    with torch.device("meta"):
        state = Transformer(TransformerConfig()).state_dict()
    assert len(state) == 259
    assert state["layers.35.attention.wqkv.weight"].shape == (3840, 1280)
    assert state["layers.0.feed_forward.w2.weight"].shape == (1280, 3584)
    assert state["cls_embedding.uncond_embedding"].shape == (120, 2048)
    assert state["img_uncond_embedding"].shape == (1024, 1280)


def test_null_embeddings_are_never_trained(transformer):
    names = {name for name, _ in transformer.named_parameters()}
    assert not names & {"cls_embedding.uncond_embedding", "img_uncond_embedding"}


def test_rotary_table():
    table = rotary_table(32, 120, 64)
    assert table.shape == (2168, 32, 2)
    for position, pairs in ROTARY.items():
        found = table[position, [0, 1, 15, 16, 17, 31]]
        torch.testing.assert_close(
            found, torch.tensor(pairs, dtype=torch.float32), atol=2e-6, rtol=0
        )
    assert table.sum().item() == pytest.approx(47601.90, abs=0.02)
    assert table.abs().sum().item() == pytest.approx(76885.875, abs=0.02)


def test_rotation_turns_neighboring_pairs():
    x = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 1, 4)
    table = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])  # a quarter turn, and a text slot
    assert rotate(x, table).flatten().tolist() == [-2.0, 1.0, 0.0, 0.0]


def test_rotary_table_survives_a_cast(golden):
    model = Transformer(TransformerConfig.from_dict(golden["config"]["transformer"]))
    exact = model.rotary.clone()
    model.to(torch.bfloat16)
    assert model.rotary.dtype == torch.float32 and torch.equal(model.rotary, exact)
    assert "rotary" not in model.state_dict()


def test_rms_norm_by_hand():
    norm = RMSNorm(2, eps=0.0)
    norm.weight.data = torch.tensor([1.0, 2.0])
    # Mean square of (3, 4) is 12.5.
    expected = torch.tensor([3.0, 8.0]) / 12.5**0.5
    torch.testing.assert_close(norm(torch.tensor([3.0, 4.0])), expected)


def test_first_loss_is_that_of_a_uniform_guess(golden):
    config = TransformerConfig.from_dict(golden["config"]["transformer"])
    io = golden["transformer"]
    logits = Transformer(config).training_logits(
        io["text"], io["condition_codes"], io["target_codes"]
    )
    assert torch.equal(logits, torch.zeros_like(logits))


@torch.no_grad()
def test_causality(transformer, golden):
    io = golden["transformer"]
    before = transformer.training_logits(io["text"], io["condition_codes"], io["target_codes"])
    changed = io["target_codes"].clone()
    changed[:, 6] = (changed[:, 6] + 1) % 256
    after = transformer.training_logits(io["text"], io["condition_codes"], changed)
    assert torch.equal(before[:, :7], after[:, :7])  # logits 6 predict code 6 from those before
    assert not torch.allclose(before[:, 7:], after[:, 7:])


@torch.no_grad()
def test_every_condition_matters(transformer, golden):
    io = golden["transformer"]
    args = (io["text"], io["condition_codes"], io["target_codes"])
    plain = transformer.training_logits(*args)
    none, everyone = torch.zeros(3, dtype=torch.bool), torch.ones(3, dtype=torch.bool)
    no_text, _ = transformer.forward_train(*args, everyone, none)
    no_image, _ = transformer.forward_train(*args, none, everyone)
    only_first, _ = transformer.forward_train(*args, torch.tensor([True, False, False]), none)
    assert not torch.allclose(no_text, plain) and not torch.allclose(no_image, plain)
    torch.testing.assert_close(only_first[0], no_text[0])
    torch.testing.assert_close(only_first[1:], plain[1:])
    other_text, _ = transformer.forward_train(-io["text"], *args[1:], everyone, none)
    assert torch.equal(other_text, no_text)


def test_training_has_dropout_and_evaluation_none(transformer, golden):
    io = golden["transformer"]
    args = (io["text"], io["condition_codes"], io["target_codes"])
    with torch.no_grad():
        assert torch.equal(transformer.training_logits(*args), transformer.training_logits(*args))
        transformer.train()
        first, second = transformer.training_logits(*args), transformer.training_logits(*args)
        transformer.eval()
    assert not torch.allclose(first, second)


def test_dropout_frequencies():
    text, image = joint_dropout(200_000, torch.Generator().manual_seed(0))
    both, neither = (text & image).float().mean(), (~text & ~image).float().mean()
    assert both.item() == pytest.approx(0.05, abs=0.003)
    assert (text & ~image).float().mean().item() == pytest.approx(0.05, abs=0.003)
    assert (image & ~text).float().mean().item() == pytest.approx(0.05, abs=0.003)
    assert neither.item() == pytest.approx(0.85, abs=0.005)


def test_alignment_reads_two_by_two_cells():
    alignment = Alignment(dim=1, teacher_dim=1)
    alignment.weight.data.fill_(1.0)
    alignment.bias.data.fill_(0.5)
    hidden = torch.arange(16.0).view(1, 16, 1)
    # Cells of a 4×4 grid: 0+1+4+5, 2+3+6+7, 8+9+12+13, 10+11+14+15.
    assert alignment(hidden).flatten().tolist() == [10.5, 18.5, 42.5, 50.5]
    teacher = torch.zeros(1, 4, 1, requires_grad=True)
    loss = distillation_loss(alignment, hidden, teacher)
    assert loss.item() == pytest.approx((10.5**2 + 18.5**2 + 42.5**2 + 50.5**2) / 4)
    loss.backward()
    assert teacher.grad is None


def test_a_few_steps_overfit(golden):
    config = TransformerConfig(
        dim=32, n_layer=1, n_head=2, vocab_size=16, block_size=16, cls_token_num=12,
        caption_dim=48, multiple_of=32, token_dropout=0.0, residual_dropout=0.0, ffn_dropout=0.0,
    )  # fmt: skip
    model = Transformer(config)
    io = golden["transformer"]
    condition, target = io["condition_codes"] % 16, io["target_codes"] % 16
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        loss = F.cross_entropy(
            model.training_logits(io["text"], condition, target).flatten(0, 1), target.flatten()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2
    codes = model.eval().generate(io["text"], condition, guidance=1.0, greedy=True)
    assert (codes == target).float().mean() > 0.9


def test_unknown_or_impossible_configuration_is_refused():
    with pytest.raises(UserError, match="drop_path"):
        TransformerConfig.from_dict({"drop_path": 0.1})
    with pytest.raises(UserError, match="square"):
        TransformerConfig(block_size=15)
    with pytest.raises(UserError, match="head"):
        TransformerConfig(dim=100, n_head=3)
