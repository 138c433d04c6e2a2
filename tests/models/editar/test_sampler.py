from __future__ import annotations

import pytest
import torch

from models.editar.sampler import (
    SamplerSettings,
    choose,
    draw,
    keep_top_k,
    keep_top_p,
    sample,
    uniforms_for,
)

SETTINGS = SamplerSettings(guidance=3.0, temperature=1.0, top_k=50, top_p=0.95)


def inputs(golden):
    return golden["transformer"]["text"], golden["transformer"]["condition_codes"]


@torch.no_grad()
def without_cache(model, text, condition, settings, uniforms):
    """The same sampling by full forward passes: the reference for the cached one."""
    codes = torch.zeros_like(condition)
    keep = torch.zeros(len(text), dtype=torch.bool)
    for i in range(codes.shape[1]):
        logits, _ = model.forward_train(text, condition, codes, keep, keep)
        null, _ = model.forward_train(text, condition, codes, ~keep, keep)
        guided = null[:, i] + settings.guidance * (logits[:, i] - null[:, i])
        codes[:, i] = choose(guided, settings, uniforms[:, i : i + 1].double())
    return codes


def test_cache_equals_full_forward_passes(transformer, golden):
    text, condition = inputs(golden)
    uniforms = uniforms_for([1, 2, 3], 16)
    cached = sample(transformer, text, condition, SETTINGS, uniforms)
    assert torch.equal(cached, without_cache(transformer, text, condition, SETTINGS, uniforms))
    assert cached.dtype == torch.int64 and cached.shape == (3, 16)


def test_pictures_do_not_depend_on_their_batch(transformer, golden):
    text, condition = inputs(golden)
    seeds = [10, 11, 12]
    together = sample(transformer, text, condition, SETTINGS, uniforms_for(seeds, 16))
    order = [2, 0, 1]
    shuffled = sample(
        transformer,
        text[order],
        condition[order],
        SETTINGS,
        uniforms_for([seeds[i] for i in order], 16),
    )
    assert torch.equal(shuffled, together[order])
    for i in range(3):
        one = slice(i, i + 1)
        alone = sample(
            transformer, text[one], condition[one], SETTINGS, uniforms_for(seeds[one], 16)
        )
        assert torch.equal(alone, together[one])


def test_seed_and_condition_change_the_picture(transformer, golden):
    text, condition = inputs(golden)
    first = sample(transformer, text, condition, SETTINGS, uniforms_for([1, 2, 3], 16))
    again = sample(transformer, text, condition, SETTINGS, uniforms_for([1, 2, 3], 16))
    other_seed = sample(transformer, text, condition, SETTINGS, uniforms_for([4, 5, 6], 16))
    other_image = sample(transformer, text, 255 - condition, SETTINGS, uniforms_for([1, 2, 3], 16))
    assert torch.equal(first, again)
    assert not torch.equal(first, other_seed) and not torch.equal(first, other_image)


def test_guidance_of_one_is_none(transformer, golden):
    text, condition = inputs(golden)
    uniforms = uniforms_for([1, 2, 3], 16)
    one = SamplerSettings(guidance=1.0, top_k=50, top_p=0.95)
    codes = sample(transformer, text, condition, one, uniforms)
    # The formula at scale 1, worked out by full passes of both halves.
    assert torch.equal(codes, without_cache(transformer, text, condition, one, uniforms))
    guided = sample(transformer, text, condition, SETTINGS, uniforms)
    assert not torch.equal(codes, guided)


def test_training_mode_and_missing_numbers_are_refused(transformer, golden):
    text, condition = inputs(golden)
    with pytest.raises(ValueError, match="uniforms"):
        sample(transformer, text, condition, SETTINGS)
    transformer.train()
    with pytest.raises(RuntimeError, match="eval"):
        sample(transformer, text, condition, SETTINGS, uniforms_for([1, 2, 3], 16))
    transformer.eval()


def test_top_k_keeps_ties():
    kept = keep_top_k(torch.tensor([[3.0, 1.0, 2.0, 2.0, 0.0]]), 2)
    assert kept.isfinite().tolist() == [[True, False, True, True, False]]
    logits = torch.randn(2, 5)
    assert keep_top_k(logits, 0) is logits and keep_top_k(logits, 9) is logits


def test_top_p_keeps_the_code_that_crosses():
    logits = torch.tensor([[0.2, 0.5, 0.3]]).log()
    assert keep_top_p(logits, 0.6).isfinite().tolist() == [[False, True, True]]
    assert keep_top_p(logits, 0.1).isfinite().tolist() == [[False, True, False]]
    assert keep_top_p(logits, 0.9).isfinite().all()
    assert keep_top_p(logits, 1.0) is logits


def test_draw_inverts_the_cumulative_distribution():
    probabilities = torch.tensor([[0.25, 0.0, 0.5, 0.25, 0.0]]).repeat(5, 1)
    uniforms = torch.tensor([[0.0], [0.2499], [0.25], [0.75], [1 - 2.0**-24]], dtype=torch.float64)
    assert draw(probabilities, uniforms).tolist() == [0, 0, 2, 3, 3]


def test_draws_follow_the_probabilities():
    probabilities = torch.tensor([0.1, 0.6, 0.3])
    uniforms = uniforms_for([7], 20_000).T.double()
    counts = torch.bincount(draw(probabilities.repeat(20_000, 1), uniforms), minlength=3)
    torch.testing.assert_close(counts / 20_000, probabilities, atol=0.015, rtol=0)


def test_temperature_comes_before_the_filters():
    logits = torch.tensor([[2.0, 1.0, 0.0]])
    # At temperature 4 probabilities are near 0.42, 0.33, 0.25 and p = 0.5 keeps two codes;
    # at 0.25 the first alone has 0.98.
    warm = SamplerSettings(temperature=4.0, top_k=0, top_p=0.5)
    cold = SamplerSettings(temperature=0.25, top_k=0, top_p=0.5)
    last = torch.tensor([[0.999]], dtype=torch.float64)
    assert choose(logits, warm, last).item() == 1
    assert choose(logits, cold, last).item() == 0


def test_uniforms_belong_to_their_seed():
    uniforms = uniforms_for([3, 2**40, 3], 8)
    assert uniforms.dtype == torch.float32
    assert torch.equal(uniforms[0], uniforms[2]) and not torch.equal(uniforms[0], uniforms[1])
    assert torch.equal(uniforms_for([2**40], 4)[0], uniforms[1, :4])
    assert (uniforms >= 0).all() and (uniforms < 1).all()
