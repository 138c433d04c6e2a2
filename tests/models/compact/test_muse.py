"""Muse: first loss, masks, the published schedule, what survives decoding, guidance, batches, learning at all."""

from __future__ import annotations

from math import log, pi

import pytest
import torch
import torch.nn.functional as F

from models.compact import muse as module
from models.compact.muse import MuseSettings, muse_uniforms, random_mask, still_masked
from models.training.pointing import point
from tests.models.compact.conftest import CODES, COUNT, SIDE, enliven, fresh_muse

PLAIN = MuseSettings(steps=4)


@pytest.fixture
def model():
    return enliven(fresh_muse())


def targets(seed=3):
    return torch.randint(CODES, (3, COUNT), generator=torch.Generator().manual_seed(seed))


def sample(model, conditions, settings=PLAIN, seeds=(1, 2, 3), rows=slice(None)):
    uniforms = muse_uniforms(seeds, COUNT, settings.steps)
    return model.sample(conditions.text[rows], conditions.codes[rows], settings, uniforms)


def test_first_loss_is_that_of_guessing(conditions):
    masked = random_mask(3, COUNT, torch.Generator().manual_seed(0))
    keep = conditions.keep
    logits = fresh_muse().forward_train(*conditions[:2], targets(), masked, keep, keep)
    assert logits.shape == (int(masked.sum()), CODES)
    for smoothing in (0.0, 0.1):
        loss = F.cross_entropy(logits, targets()[masked], label_smoothing=smoothing)
        assert float(loss.detach()) == pytest.approx(log(CODES), abs=1e-6)


@torch.no_grad()
def test_masked_codes_are_never_read_and_all_others_by_all(model, conditions):
    masked = torch.zeros(3, COUNT, dtype=torch.bool)
    masked[:, [2, 9]] = True

    def logits(codes):
        keep = conditions.keep
        return model.forward_train(*conditions[:2], codes, masked, keep, keep).view(3, 2, -1)

    first = logits(targets())
    other = torch.where(masked, targets(4), targets())
    assert torch.equal(logits(other), first)
    for place in (0, 5, 15):  # before, between and after the masked ones
        other = targets()
        other[:, place] = (other[:, place] + 1) % CODES
        assert ((logits(other) - first).abs().amax(-1) > 1e-4).all()


@pytest.mark.parametrize(
    ("codes", "fixed"),
    [
        (256, [3, 6, 11, 15, 18, 22, 26, 27, 31, 31, 33, 33]),
        (256, [5, 15, 24, 31, 39, 45, 48, 49]),
        (1024, [9, 26, 43, 60, 74, 88, 101, 111, 121, 126, 132, 133]),
        (3, [1, 1, 0, 0, 1]),  # more steps than codes
        (16, [16]),
    ],
)
def test_codes_fixed_in_each_step(codes, fixed):
    masked = [codes, *still_masked(codes, len(fixed))]
    assert [a - b for a, b in zip(masked, masked[1:], strict=False)] == fixed


def test_random_masks_follow_the_cosine():
    count = random_mask(4000, 256, torch.Generator().manual_seed(0)).sum(1)
    assert 1 <= count.min() < 8
    assert count.max() == 256
    share = count.float() / 256
    assert float(share.mean()) == pytest.approx(2 / pi, abs=0.01)
    # Of shares r, half lie below cos(π/4).
    assert float((share < 0.5**0.5).float().mean()) == pytest.approx(0.5, abs=0.03)
    places = random_mask(4000, 8, torch.Generator().manual_seed(1)).float().mean(0)
    assert float(places.max() - places.min()) < 0.05  # no place is preferred


def test_what_is_known_stays_and_no_mask_is_left(model, conditions, monkeypatch):
    seen = []
    hidden = model.hidden
    monkeypatch.setattr(
        model, "hidden", lambda ids, p: (seen.append(ids.clone()), hidden(ids, p))[1]
    )
    made = sample(model, conditions)
    assert len(seen) == PLAIN.steps
    for before, after in zip(seen, [*seen[1:], made], strict=True):
        known = before != model.mask_code
        assert torch.equal(after[known], before[known])
    masked = [(ids == model.mask_code).sum(1).tolist() for ids in [*seen, made]]
    assert masked == [[n] * 3 for n in (COUNT, *still_masked(COUNT, PLAIN.steps))]
    assert made.min() >= 0 and made.max() < CODES


def test_a_single_step_draws_every_code_by_its_own_number(model, conditions):
    settings = MuseSettings(steps=1, top_k=1)
    with torch.no_grad():
        everything = torch.ones(3, COUNT, dtype=torch.bool)
        keep = conditions.keep
        logits = model.forward_train(*conditions[:2], targets(), everything, keep, keep)
    assert torch.equal(sample(model, conditions, settings), logits.argmax(-1).view(3, COUNT))
    free = MuseSettings(steps=1)
    assert not torch.equal(sample(model, conditions, free), sample(model, conditions, settings))


def test_confidence_is_the_probability_before_the_filters(model, conditions, monkeypatch):
    """With top_k 1 the filtered probabilities are all 1 and would not tell the codes apart."""
    logits, seen = [], []
    guide, hidden = module.guide, model.hidden
    monkeypatch.setattr(module, "guide", lambda *a: (logits.append(guide(*a)), logits[-1])[1])
    monkeypatch.setattr(model, "hidden", lambda ids, p: (seen.append(ids), hidden(ids, p))[1])
    sample(model, conditions, MuseSettings(steps=2, top_k=1, choice_temperature=0.0))
    sureness = logits[0].log_softmax(-1).amax(-1)
    kept = seen[1] != model.mask_code
    for row in range(3):
        assert sureness[row][kept[row]].min() >= sureness[row][~kept[row]].max()


def test_noise_in_the_choice_changes_what_is_kept(model, conditions):
    quiet = MuseSettings(steps=4, top_k=1, choice_temperature=0.0)
    noisy = MuseSettings(steps=4, top_k=1, choice_temperature=4.5)
    assert torch.equal(
        sample(model, conditions, quiet), sample(model, conditions, quiet, (7, 8, 9))
    )
    assert not torch.equal(
        sample(model, conditions, noisy), sample(model, conditions, noisy, (7, 8, 9))
    )


def test_guidance_rises_to_its_full_strength(model, conditions, monkeypatch):
    strengths = []
    guide = module.guide
    monkeypatch.setattr(module, "guide", lambda x, s: (strengths.append(s), guide(x, s))[1])
    guided = sample(model, conditions, MuseSettings(guidance=3.0, steps=4))
    assert strengths == [1.5, 2.0, 2.5, 3.0]
    assert not torch.equal(guided, sample(model, conditions))


def test_guidance_of_a_null_text_is_none(model, conditions):
    null = model.cls_embedding.uncond_embedding.expand_as(conditions.text)
    blind = conditions._replace(text=null)
    guided = sample(model, blind, MuseSettings(guidance=3.0, steps=4))
    assert torch.equal(guided, sample(model, blind))


def test_seeds_and_company(model, conditions):
    whole = sample(model, conditions)
    assert torch.equal(sample(model, conditions), whole)
    assert torch.equal(sample(model, conditions, seeds=[2, 3], rows=slice(1, 3)), whole[1:])
    assert not torch.equal(sample(model, conditions, seeds=[1, 2, 4])[2], whole[2])
    order = [1, 0, 2]
    swapped = conditions._replace(text=conditions.text[order], codes=conditions.codes[order])
    assert torch.equal(sample(model, swapped, seeds=[2, 1, 3]), whole[order])


def test_a_uniform_number_of_zero_does_no_harm(model, conditions):
    zeros = torch.zeros(3, PLAIN.steps * 2 * COUNT)
    made = model.sample(conditions.text, conditions.codes, PLAIN, zeros)
    assert made.max() < CODES
    # Nor where its noise counts for nothing: an endless number times zero is none.
    quiet = MuseSettings(steps=4, top_k=1, choice_temperature=0.0)
    made = model.sample(conditions.text, conditions.codes, quiet, zeros)
    assert torch.equal(made, sample(model, conditions, quiet))


def test_the_published_steps_and_noise_which_falls_to_zero(model, conditions, monkeypatch):
    """MaskGIT's: 12 steps, temperature 4.5 of the choice times the share of steps that are left."""
    plain = MuseSettings()
    assert (plain.steps, plain.choice_temperature, plain.temperature, plain.top_k) == (
        12,
        4.5,
        1,
        0,
    )
    # All places as sure as each other: what is left of confidence is noise.
    torch.nn.init.zeros_(model.output.weight)
    sureness = []
    argsort = torch.Tensor.argsort
    monkeypatch.setattr(
        torch.Tensor, "argsort", lambda x, **how: sureness.append(x) or argsort(x, **how)
    )
    uniforms = torch.full((3, 4 * 2 * COUNT), 0.5)
    model.sample(conditions.text, conditions.codes, MuseSettings(steps=4), uniforms)
    gumbel = -log(log(2))
    for step, found in enumerate(sureness, 1):
        masked = found[found.isfinite()]
        expected = log(1 / CODES) + 4.5 * (1 - step / 4) * gumbel
        assert masked.tolist() == pytest.approx([expected] * len(masked), abs=1e-5)
    assert len(sureness) == 3


def test_learns_a_few_pictures_by_heart(conditions):
    model, keep = fresh_muse(), conditions.keep
    point(model, {0: (SIDE, SIDE), 1: (SIDE, SIDE - 1)})  # as in training
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    recent = []
    for _ in range(160):
        masked = random_mask(3, COUNT, generator)
        logits = model.forward_train(*conditions[:2], targets(), masked, keep, keep)
        loss = F.cross_entropy(logits, targets()[masked])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        recent.append(float(loss.detach()))
    assert sum(recent[-20:]) / 20 < 0.1
    greedy = MuseSettings(steps=4, top_k=1)
    assert (sample(model, conditions, greedy) == targets()).float().mean() > 0.95
