"""Wrong codes in training: how many, for whom, and that only what is read changes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from models.editar.config import TransformerConfig
from models.editar.objective import editar_loss
from models.editar.transformer import Transformer
from models.training.misreading import HIDDEN, MISREAD, OWN, hidden_behind, misread, own_draws


def test_the_share_is_right_on_average_and_differs_between_samples() -> None:
    codes = torch.zeros(2000, 64, dtype=torch.int64)
    wrong = misread(codes, 1024, torch.Generator().manual_seed(0)) != 0
    shares = wrong.float().mean(1)
    assert float(shares.mean()) == pytest.approx(MISREAD, abs=0.005)
    # Evenly spread from 0 to twice the mean, and binomial around that.
    assert float((shares < MISREAD / 2).float().mean()) == pytest.approx(0.27, abs=0.05)
    assert float(shares.max()) < 4 * MISREAD


def test_wrong_codes_are_any_of_the_codebook_and_draws_repeat() -> None:
    codes = torch.arange(8).repeat(500, 50)
    made = [misread(codes, 16, torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])
    changed = made[0][made[0] != codes]
    assert set(changed.tolist()) == set(range(16))
    assert made[0].dtype == torch.int64


def test_own_draws_follow_the_logits_and_their_share_runs_from_none_to_all() -> None:
    codes = torch.zeros(2000, 64, dtype=torch.int64)
    logits = torch.full((2000, 64, 8), -torch.inf)
    logits[..., 3], logits[..., 5] = 0.0, float(torch.log(torch.tensor(3.0)))
    made = own_draws(codes, logits, torch.Generator().manual_seed(0))
    assert set(made.unique().tolist()) == {0, 3, 5}
    shares = (made != 0).float().mean(1)
    assert float(shares.mean()) == pytest.approx(OWN, abs=0.02)
    assert float(shares.quantile(0.1)) == pytest.approx(0.1, abs=0.03)
    assert float(shares.quantile(0.9)) == pytest.approx(0.9, abs=0.03)
    assert float((made == 5).sum() / (made != 0).sum()) == pytest.approx(0.75, abs=0.01)


def test_edits_alone_are_hidden_half_of_them_and_half_of_those_wholly() -> None:
    codes, source = torch.zeros(2, 4000, 64, dtype=torch.int64)
    source = source + 1
    edits = torch.arange(4000) % 2 == 0
    made = hidden_behind(codes, source, edits, torch.Generator().manual_seed(0))
    assert int(made[~edits].sum()) == 0
    shares = made[edits].float().mean(1)
    assert float((shares > 0).float().mean()) == pytest.approx(HIDDEN, abs=0.03)
    assert float((shares == 1).float().mean()) == pytest.approx(HIDDEN / 2, abs=0.03)
    some = shares[(shares > 0) & (shares < 1)]
    assert float(some.mean()) == pytest.approx(0.5, abs=0.05)
    assert float(some.quantile(0.1)) == pytest.approx(0.1, abs=0.04)


def test_only_what_is_read_changes() -> None:
    config = TransformerConfig(
        dim=32, n_layer=1, n_head=2, vocab_size=16, block_size=16, cls_token_num=3, caption_dim=8,
        multiple_of=32, token_dropout=0.0, residual_dropout=0.0, ffn_dropout=0.0,
    )  # fmt: skip
    torch.manual_seed(0)
    model = Transformer(config).eval()
    torch.nn.init.normal_(model.output.weight)
    text = torch.randn(2, 3, 8)
    condition, target, read = torch.randint(16, (3, 2, 16)).unbind()
    keep = torch.zeros(2, dtype=torch.bool)
    loss, entropy, _ = editar_loss(model, text, condition, target, keep, keep, None, read)
    logits = model.training_logits(text, condition, read)
    assert float(loss) == float(entropy)
    expected = F.cross_entropy(logits.flatten(0, 1), target.flatten())
    assert float(entropy) == pytest.approx(float(expected))
    plain, _, _ = editar_loss(model, text, condition, target, keep, keep)
    assert float(plain) != pytest.approx(float(entropy))
