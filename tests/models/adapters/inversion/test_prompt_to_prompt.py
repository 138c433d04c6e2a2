"""Prompt-to-Prompt: equal captions change nothing, and what changes is what the paper says."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from editar_bench.errors import UserError
from models.adapters.inversion.prompt_to_prompt import Captions, LocalBlend, PromptToPrompt, compare
from models.adapters.inversion.sampler import Sampler
from tests.models.adapters.inversion.conftest import SIDE, SOURCE, TARGET
from tests.models.adapters.inversion.test_sampler import Watching

STEPS = 5
# Of latents up to 12, between batches of other sizes, enlarged by guidance at every step.
ROUNDING = 5e-3


@pytest.fixture
def short(pipeline):
    return Sampler(pipeline, "cpu", STEPS, guidance=7.5)


@pytest.fixture(scope="module")
def start():
    return torch.randn(1, 4, SIDE // 2, SIDE // 2, generator=torch.manual_seed(0))


def edited(sampler, start, target, words=None, cross=0.4, self_=0.6):
    texts = sampler.embed(["", SOURCE, target])
    captions = compare(sampler.pipeline.tokenizer, SOURCE, target, words)
    control = PromptToPrompt(captions, STEPS, start, cross, self_)
    with control.attached(sampler.unet):
        return sampler.denoise(start, [texts[:1]] * STEPS, texts[1:], control)


def alone(sampler, start, caption):
    texts = sampler.embed(["", caption])
    return sampler.denoise(start, [texts[:1]] * STEPS, texts[1:], Watching())


def test_equal_captions_give_the_source(short, start):
    source, target = edited(short, start, SOURCE)
    assert torch.allclose(target, source, atol=1e-4)
    assert torch.allclose(source, alone(short, start, SOURCE)[0], atol=ROUNDING)


def test_the_source_row_is_never_touched(short, start):
    source, target = edited(short, start, TARGET, ("cat", "dog"))
    assert torch.allclose(source, alone(short, start, SOURCE)[0], atol=ROUNDING)
    assert not torch.allclose(target, source, atol=1e-1)


def test_without_control_the_target_is_drawn_freely(short, start):
    free = alone(short, start, TARGET)[0]
    assert torch.allclose(edited(short, start, TARGET, cross=0, self_=0)[1], free, atol=1e-3)
    for parts in ((1, 0), (0, 1)):
        assert not torch.allclose(edited(short, start, TARGET, None, *parts)[1], free, atol=1e-2)


def by_hand(step, steps=10, **changes):
    """Control of a text of four tokens, of which the third is new, and the change of given probabilities."""
    captions = Captions(
        source_L=torch.tensor([0, 2, 0, 3]),
        kept_L=torch.tensor([1.0, 1.0, 0.0, 1.0]),
        emphasis_L=torch.tensor([1.0, 1.0, 2.0, 1.0]),
        words_2L=torch.zeros(2, 4),
    )
    control = PromptToPrompt(captions, steps, torch.zeros(1, 4, 8, 8), 0.4, 0.6)
    control.before(step)
    return control


def test_cross_attention_by_hand():
    rows = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8], [10, 20, 30, 40], [50, 60, 70, 80]])
    probabilities = rows.float().view(4, 1, 1, 4)
    changed = by_hand(step=3)._cross(probabilities).flatten(1)
    assert torch.equal(changed[:3], probabilities[:3].flatten(1))  # also all rows without text
    assert changed[3].tolist() == [10, 30, 140, 40]  # source, moved source, own doubled, source
    assert torch.equal(by_hand(step=4)._cross(probabilities), probabilities)  # int(0.4 · 11) steps


def test_self_attention_is_replaced_below_the_highest_resolution_for_a_part_of_the_steps():
    first, last, after = by_hand(0), by_hand(5), by_hand(6)  # 0.6 of ten
    assert [c._replaces_self(16) for c in (first, last, after)] == [True, True, False]
    assert not first._replaces_self(64)


def test_published_settings_count_steps_as_the_scripts_do():
    control = by_hand(0, steps=50)
    assert (control.cross_until, control.self_until) == (20, 30)


def test_where_a_word_is_seen_by_hand():
    blend = LocalBlend(torch.tensor([[0.0, 1.0], [0.0, 1.0]]), start=1)
    for weak in (0.0, 0.29):  # two layers or steps; the second one below the level
        seen = torch.full((2, 3, 16, 2), 9.0)  # what the other token sees is of no interest
        seen[..., 1] = 0
        seen[0, :, 0, 1] = 1.0  # source: the upper left of 4 x 4
        seen[0, :, 15, 1] = weak
        seen[1, :, 12, 1] = 0.5  # target: the lower left
        blend.see(seen)
    mask = blend.mask(8, 8)[0, 0]
    expected = torch.zeros(8, 8)
    expected[:4, :4] = 1  # a cell and its neighbors, two latents wide each
    expected[4:, :4] = 1
    assert torch.equal(mask, expected)


@pytest.mark.parametrize(("weak", "is_seen"), [(0.29, False), (0.31, True)])
def test_a_word_is_seen_from_three_tenths_of_the_highest_attention_on(weak, is_seen):
    blend = LocalBlend(torch.tensor([[0.0], [1.0]]), start=0)
    heat = torch.zeros(2, 1, 16, 1)
    heat[1, 0, 0], heat[1, 0, 15] = 1.0, weak
    blend.see(heat)
    assert bool(blend.mask(8, 8)[0, 0, 7, 7]) is is_seen


def test_published_emphasis_and_first_step_of_the_blend(pipeline, start):
    captions = compare(pipeline.tokenizer, SOURCE, TARGET, ("cat", "dog"))
    word = captions.words_2L[1] > 0
    assert word.any()
    assert torch.equal(captions.emphasis_L, torch.where(word, 2.0, 1.0))
    control = PromptToPrompt(captions, 50, start, 0.4, 0.6)
    assert control.blend is not None and control.blend.start == 10  # a fifth of 50 steps


def test_outside_of_the_mask_the_source_stays():
    blend = LocalBlend(torch.ones(2, 1), start=2)
    heat = torch.zeros(2, 1, 16, 1)
    heat[1, 0, 0] = 1
    blend.see(heat)
    latents = torch.stack([torch.zeros(4, 8, 8), torch.ones(4, 8, 8)])
    assert torch.equal(blend.after(1, latents), latents)  # too early
    source, target = blend.after(2, latents)
    assert torch.equal(source, latents[0])
    assert target[:, :4, :4].eq(1).all() and target.sum() == 4 * 16


def test_a_network_that_sees_nowhere_is_one_sentence():
    with pytest.raises(UserError, match="no cross-attention at a quarter"):
        LocalBlend(torch.ones(2, 1), start=0).mask(8, 8)


def test_a_word_that_only_one_caption_has_is_enough(short, start):
    control = PromptToPrompt(
        compare(short.pipeline.tokenizer, SOURCE, TARGET, ("bird", "dog")), STEPS, start, 0.4, 0.6
    )
    assert control.blend is not None
    control.blend.see(torch.rand(2, 1, 16, 77))
    assert control.blend.mask(8, 8).sum() > 0
    absent = PromptToPrompt(
        compare(short.pipeline.tokenizer, SOURCE, TARGET, ("bird", "fish")), STEPS, start, 0.4, 0.6
    )
    assert absent.blend is not None  # published: nothing is seen, so the source stays
    absent.blend.see(torch.rand(2, 1, 16, 77))
    assert not absent.blend.mask(8, 8).any()
    unnamed = compare(short.pipeline.tokenizer, SOURCE, TARGET)
    assert PromptToPrompt(unnamed, STEPS, start, 0.4, 0.6).blend is None


def test_words_are_seen_at_a_quarter_of_the_side_outside_of_the_middle(short, start):
    texts = short.embed(["", SOURCE, TARGET])
    captions = compare(short.pipeline.tokenizer, SOURCE, TARGET, ("cat", "dog"))
    control = PromptToPrompt(captions, STEPS, start, 0.4, 0.6)
    seen = []
    control.blend = SimpleNamespace(see=seen.append, after=lambda step, latents: latents)
    with control.attached(short.unet):
        short.guided_noise(start.expand(2, -1, -1, -1), 500, texts[:1].expand(2, -1, -1), texts[1:])
    assert len(seen) == 5  # two layers on the way down, three on the way up
    assert {s.shape[2] for s in seen} == {(SIDE // 8) ** 2}
