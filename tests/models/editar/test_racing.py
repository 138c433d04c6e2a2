"""Races: fair, fixed by their key, and seldom with another winner when the logits change a little."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import chisquare, kstest

from models.editar import racing
from models.editar.choosing import SamplerSettings, choose, keep_top_k, uniforms_for
from models.editar.racing import head_starts, keys_of, race

ROWS = 20_000
FREE = SamplerSettings(temperature=1.0, top_k=0)


def many(codes, seed=7, rows=ROWS):
    return head_starts(keys_of(uniforms_for([seed], rows)[0]), codes)


def test_times_are_exponential_and_codes_and_places_independent():
    times = (-many(16)).exp().double()
    for code in (0, 7, 15):
        assert kstest(times[:, code].numpy(), "expon").pvalue > 1e-3
    assert kstest(times.flatten()[:100_000].numpy(), "expon").pvalue > 1e-3
    ranks = times.argsort(0).argsort(0).double()
    correlation = torch.corrcoef(ranks.T) - torch.eye(16)
    assert correlation.abs().max() < 5 * ROWS**-0.5
    assert torch.corrcoef(torch.stack([ranks[1:, 0], ranks[:-1, 0]]))[0, 1].abs() < 0.04


def test_small_times_are_finely_divided():
    keys = torch.arange(2**18, dtype=torch.int32)
    times = (-head_starts(keys, 4)).exp()
    least = times.min()
    assert 0 < least < 1e-4 and times.isfinite().all()
    assert len(times[times < 1e-3].unique()) > 0.99 * (times < 1e-3).sum()


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_winners_follow_the_probabilities(temperature):
    torch.manual_seed(3)
    logits = 2 * torch.randn(12)
    settings = SamplerSettings(temperature=temperature, top_k=9, top_p=0.95)
    winners = race(logits.expand(ROWS, -1), many(12), settings)
    inverse = [
        choose(logits[None], settings, torch.tensor([[u]])) for u in torch.rand(400).double()
    ]
    assert set(winners.tolist()) >= set(torch.cat(inverse).tolist())
    scaled = keep_top_k(logits[None] / temperature, 9)[0].softmax(-1)
    order = scaled.argsort(descending=True)
    inside = int((scaled[order].cumsum(0) > 0.95).nonzero()[0]) + 1
    kept = torch.zeros(12, dtype=torch.double)
    kept[order[:inside]] = scaled[order[:inside]].double()
    counts = torch.bincount(winners, minlength=12)
    assert counts[kept == 0].sum() == 0
    wanted = kept[kept > 0] / kept.sum() * ROWS
    assert chisquare(counts[kept > 0].numpy(), wanted.numpy()).pvalue > 1e-3


def test_the_best_k_are_kept_whichever_way_it_is_found_out():
    torch.manual_seed(1)
    logits, ahead = torch.randn(500, 40), many(40, rows=500)
    for k in (1, 2, 39, 40, 0):
        settings = SamplerSettings(temperature=0.9, top_k=k)
        quick = torch.cat(
            [race(row[None], a[None], settings) for row, a in zip(logits, ahead, strict=True)]
        )
        slow = (keep_top_k(logits / 0.9, k) + ahead).argmax(-1)
        assert torch.equal(quick, slow) and torch.equal(race(logits, ahead, settings), slow)


def test_greedy_is_the_best_code():
    logits = torch.randn(5, 9)
    made = race(logits, torch.randn(5, 9), SamplerSettings(greedy=True))
    assert torch.equal(made, logits.argmax(-1))


def test_a_small_change_seldom_changes_the_winner():
    """At least (1 - d) / (1 + d) of the time, which an inverse cumulative distribution is far from."""
    torch.manual_seed(2)
    before = torch.randn(64)
    after = before + 0.3 * torch.randn(64)
    distance = (before.softmax(-1) - after.softmax(-1)).abs().sum() / 2
    ahead, uniforms = many(64), torch.rand(ROWS, 1).double()
    first, second = (race(x.expand(ROWS, -1), ahead, FREE) for x in (before, after))
    raced = (first == second).double().mean()
    first, second = (choose(x.expand(ROWS, -1), FREE, uniforms) for x in (before, after))
    inverted = (first == second).double().mean()
    assert 0.05 < distance < 0.3
    assert raced > (1 - distance) / (1 + distance) - 0.01
    assert inverted < raced - 0.2


def test_keys_belong_to_their_numbers():
    uniforms = uniforms_for([1, 2, 1], 50)
    keys = keys_of(uniforms)
    assert keys.dtype == torch.int32 and keys.min() < -(2**30) and keys.max() > 2**30
    assert torch.equal(keys[0], keys[2]) and len(keys[:2].unique()) == 100
    assert torch.equal(head_starts(keys, 5)[1, 3], head_starts(keys[1, 3], 5))


def test_the_latest_arrival_is_still_one(monkeypatch):
    """The largest bits round to a part of 1, whose time would be endless: a code that even alone never won."""
    monkeypatch.setattr(racing, "_mixed", lambda bits: bits)
    latest = torch.tensor([2**31 - 1, 0], dtype=torch.int32)
    ahead = racing._head_starts(latest, torch.zeros(1, 1, dtype=torch.int32))
    assert ahead.isfinite().all() and ahead[0, 0] < -2.8 and ahead[0, 1] > 20
