"""The sampler against full forward passes, against the published one step for step, and against exact probabilities."""

from __future__ import annotations

import gc
import itertools
import weakref

import pytest
import torch
from scipy.stats import chisquare

from models.editar import decoding
from models.editar import passes as passing
from models.editar.choosing import choose, draw, keep_top_k, keep_top_p
from models.editar.config import TransformerConfig
from models.editar.decoding import Decoder
from models.editar.passes import right_guesses
from models.editar.precision import Precision
from models.editar.racing import head_starts, keys_of, race
from models.editar.sampler import SamplerSettings, passes_for, sample, uniforms_for
from models.editar.transformer import Transformer
from tests.benchmarks import sampler_plain

SETTINGS = SamplerSettings(guidance=3.0, temperature=1.0, top_k=50, top_p=0.95)


def inputs(golden):
    return golden["transformer"]["text"], golden["transformer"]["condition_codes"]


@torch.no_grad()
def without_cache(model, text, condition, settings, uniforms):
    """The same sampling by full forward passes: the reference for the cached one."""
    codes, keys = torch.zeros_like(condition), keys_of(uniforms)
    keep = torch.zeros(len(text), dtype=torch.bool)
    for i in range(codes.shape[1]):
        logits, _ = model.forward_train(text, condition, codes, keep, keep)
        null, _ = model.forward_train(text, condition, codes, ~keep, keep)
        guided = null[:, i] + settings.guidance * (logits[:, i] - null[:, i])
        codes[:, i] = race(guided, head_starts(keys[:, i], guided.shape[-1]), settings)
    return codes


def test_cache_equals_full_forward_passes(transformer, golden):
    text, condition = inputs(golden)
    uniforms = uniforms_for([1, 2, 3], 16)
    cached = sample(transformer, text, condition, SETTINGS, uniforms)
    assert torch.equal(cached, without_cache(transformer, text, condition, SETTINGS, uniforms))
    assert cached.dtype == torch.int64 and cached.shape == (3, 16)


def tiny(vocab_size=3, side=2):
    """A model whose codes depend strongly on what is before them."""
    torch.manual_seed(5)
    config = TransformerConfig(
        dim=16, n_layer=2, n_head=2, vocab_size=vocab_size, block_size=side**2, cls_token_num=3,
        caption_dim=8, multiple_of=16,
    )  # fmt: skip
    model = Transformer(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.6)
    return model


def tiny_inputs(model, batch):
    config = model.config
    codes = torch.randint(config.vocab_size, (batch, config.block_size))
    return torch.randn(batch, config.cls_token_num, config.caption_dim), codes


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("batch", [1, 3])
def test_greedy_codes_are_those_of_the_published_sampler(transformer, golden, guidance, batch):
    settings = SamplerSettings(guidance=guidance, greedy=True)
    for model, (text, codes) in (
        (transformer, [x[:batch] for x in inputs(golden)]),
        (wide := tiny(vocab_size=50, side=6), tiny_inputs(wide, batch)),
    ):
        made = sample(model, text, codes, settings)
        assert torch.equal(made, sampler_plain.generate(model, text, codes, settings))
        assert len(made.unique()) > 5  # or else every sampler would agree


@pytest.mark.parametrize("guidance", [1.0, 2.5])
@pytest.mark.parametrize("window", [1, 2, 5, 64])
@pytest.mark.parametrize("batch", [1, 4])
def test_drawn_codes_are_those_of_the_published_sampler(guidance, window, batch, monkeypatch):
    monkeypatch.setattr(passing, "ROWS", batch * window)
    monkeypatch.setattr(passing, "LEAST_WINDOW", 1)
    monkeypatch.setattr(passing, "WINDOW", window)
    model = tiny(vocab_size=50, side=5)
    text, codes = tiny_inputs(model, batch)
    settings = SamplerSettings(guidance=guidance, temperature=1.3, top_k=20, top_p=0.9)
    uniforms = uniforms_for(range(batch), 25)
    draw = sampler_plain.by_uniforms(uniforms)
    made = sample(model, text, codes, settings, uniforms)
    assert torch.equal(made, sampler_plain.generate(model, text, codes, settings, draw))


@pytest.mark.parametrize("interval", [0, 1, 4])
def test_guidance_ends_after_its_interval_as_published(interval):
    """Step i draws the code at place i + 1: with an interval of 0 the first two codes are guided."""
    model = tiny(vocab_size=50, side=4)
    text, codes = tiny_inputs(model, 2)
    uniforms = uniforms_for(range(2), 16)

    def made(**settings):
        return sample(
            model, text, codes, SamplerSettings(temperature=3.0, top_k=0, **settings), uniforms
        )

    early = SamplerSettings(guidance=4.0, temperature=3.0, top_k=0, cfg_interval=interval)
    plain = sampler_plain.generate(model, text, codes, early, sampler_plain.by_uniforms(uniforms))
    kept = made(guidance=4.0, cfg_interval=interval)
    assert torch.equal(kept, plain)
    assert torch.equal(kept[:, : interval + 2], made(guidance=4.0)[:, : interval + 2])
    assert not torch.equal(kept, made(guidance=4.0)) and not torch.equal(kept, made(guidance=1.0))


@torch.no_grad()
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_a_dropped_condition_is_the_null_picture(transformer, golden, guidance):
    """In both guidance halves, as with `mode` 0 of the published code."""
    text, condition = inputs(golden)
    drop, keep = torch.tensor([False, True, False]), torch.zeros(3, dtype=torch.bool)
    made = transformer.generate(text, condition, guidance=guidance, drop_image=drop)
    own, _ = transformer.forward_train(text, condition, made, keep, drop)
    null, _ = transformer.forward_train(text, condition, made, ~keep, drop)
    assert torch.equal(made, (null + guidance * (own - null)).argmax(-1))
    changed = (made != transformer.generate(text, condition, guidance=guidance)).any(-1)
    assert changed.tolist() == [False, True, False]


def test_any_guess_gives_the_same_codes(transformer, golden, monkeypatch):
    """Guesses come from the source and from the code before; here all of them are right, then all of them wrong."""
    text, condition = inputs(golden)
    uniforms = uniforms_for([1, 2, 3], 16)
    made = sample(transformer, text, condition, SETTINGS, uniforms)
    passes = []
    monkeypatch.setattr(passing, "ROWS", 24)  # two windows make a picture
    count = passing.right_guesses
    monkeypatch.setattr(passing, "right_guesses", lambda *a: passes.append(1) or count(*a))
    for guesses, least, most in ((made, 2, 2), ((made + 1) % 256, 3, 15)):
        padded = torch.nn.functional.pad(guesses, (0, 16))
        monkeypatch.setattr(passing, "first_guesses", lambda _, guesses=guesses: guesses)
        monkeypatch.setattr(
            passing,
            "guesses_behind",
            lambda s, p, behind, d, padded=padded: padded[: len(d)].gather(1, behind),
        )
        passes.clear()
        assert torch.equal(sample(transformer, text, condition, SETTINGS, uniforms), made)
        assert least <= len(passes) <= most


def test_guesses_count_up_to_the_first_wrong_one():
    read = torch.tensor([[9, 1, 2, 3], [9, 1, 2, 3], [9, 1, 2, 3]])
    drawn = torch.tensor([[1, 2, 3, 7], [1, 5, 3, 7], [5, 2, 3, 7]])
    assert right_guesses(read, drawn).tolist() == [[3], [1], [0]]


@torch.no_grad()
def exact_probabilities(model, text, condition, guidance):
    """The probability of every sequence, by full forward passes."""
    count, size = model.config.block_size, model.config.vocab_size
    sequences = torch.tensor(list(itertools.product(range(size), repeat=count)))
    many = len(sequences)
    args = (text.expand(many, -1, -1), condition.expand(many, -1), sequences)
    none = torch.zeros(many, dtype=torch.bool)
    logits, _ = model.forward_train(*args, none, none)
    null, _ = model.forward_train(*args, ~none, none)
    guided = (null + guidance * (logits - null)).log_softmax(-1)
    return guided.gather(-1, sequences[..., None]).sum((1, 2)).exp()


def test_sequences_have_their_exact_probabilities():
    model, draws = tiny(), 6000
    text, condition = tiny_inputs(model, 1)
    expected = exact_probabilities(model, text, condition, 1.5).double()
    codes = sample(
        model,
        text.expand(draws, -1, -1),
        condition.expand(draws, -1),
        SamplerSettings(guidance=1.5, top_k=0),
        uniforms_for(range(draws), 4),
    )
    counts = torch.bincount(codes @ torch.tensor([27, 9, 3, 1]), minlength=81).double()
    often = expected * draws >= 5
    observed = torch.cat([counts[often], counts[~often].sum()[None]])
    wanted = torch.cat([expected[often], expected[~often].sum()[None]]) * draws
    assert often.sum() > 20  # the distribution has something to tell
    wanted *= draws / wanted.sum()
    assert chisquare(observed.numpy(), wanted.numpy()).pvalue > 0.001


@pytest.mark.parametrize("most", [0, 2**26])
def test_a_decoder_is_used_again_and_never_out_of_date(most, monkeypatch):
    """Whether it copies the weights or looks at the module's own."""
    monkeypatch.setattr(decoding, "COPIED", most)
    model = tiny(vocab_size=50, side=4)
    settings = SamplerSettings(guidance=2.0, greedy=True)

    def agrees(batch):
        text, codes = tiny_inputs(model, batch)
        made = sample(model, text, codes, settings)
        return torch.equal(made, sampler_plain.generate(model, text, codes, settings))

    def kept():
        return passes_for(model, 2, settings, Precision())

    assert agrees(2)
    first = kept()
    assert agrees(2) and kept() is first
    with torch.no_grad():  # as an optimizer does
        for parameter in model.parameters():
            parameter.mul_(1.5)
    assert agrees(2) and (kept() is first) == (most == 0)
    model.output.weight.data.neg_()  # which torch does not count
    assert agrees(2)
    first = kept()
    model.load_state_dict(tiny(vocab_size=50, side=4).state_dict(), assign=True)
    assert agrees(2) and kept() is not first
    assert agrees(3)


def test_a_decoder_lives_no_longer_than_its_model():
    model = tiny()
    passes_for(model, 1, SamplerSettings(), Precision())
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


@torch.inference_mode()
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_double_precision_draws_the_same_codes(transformer, golden, guidance):
    text, condition = inputs(golden)
    double = Transformer(transformer.config).eval().double()
    double.load_state_dict(transformer.state_dict())
    settings = SamplerSettings(guidance=guidance, top_k=0)
    uniforms = uniforms_for(range(len(text)), transformer.config.block_size)
    codes = sample(transformer, text, condition, settings, uniforms)
    assert torch.equal(sample(double, text.double(), condition, settings, uniforms), codes)


@torch.inference_mode()
def test_half_precision_stays_close(transformer, golden):
    text, condition = inputs(golden)
    half = Transformer(transformer.config).eval()
    half.load_state_dict(transformer.state_dict())
    half.to(torch.bfloat16)
    exact = Decoder(transformer, 3, 2).prefill(text, condition)
    rough = Decoder(half, 3, 2).prefill(text, condition)
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().max() < 0.05 * exact.abs().max()


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


def test_a_code_behind_exactly_probability_p_stays_as_published():
    logits = torch.tensor([[0.0, 0.0, -torch.inf, 0.0, 0.0]])  # a quarter each, without rounding
    assert keep_top_p(logits, 0.5).isfinite().sum() == 3
    assert keep_top_p(logits, 0.49).isfinite().sum() == 2


def test_the_best_k_are_taken_before_probability_p():
    """Of 0.4, 0.3, 0.2 and 0.1 the best two have 0.57 and 0.43 among themselves."""
    logits = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log()
    settings = SamplerSettings(top_k=2, top_p=0.5)
    assert choose(logits, settings, torch.tensor([[0.99]], dtype=torch.float64)).item() == 0
    assert race(logits, torch.tensor([[0.0, 9.0, 9.0, 9.0]]), settings).item() == 0


def test_small_temperatures_are_taken_as_they_are():
    """A hundredth is what adapters allow; the published floor is a hundred-thousandth."""
    logits = torch.tensor([[0.0, 0.1]])
    settings = SamplerSettings(temperature=0.02)  # probabilities 0.007 and 0.993
    assert choose(logits, settings, torch.tensor([[0.1]], dtype=torch.float64)).item() == 1
    assert race(logits, torch.tensor([[3.0, 0.0]]), settings).item() == 1
    assert race(logits, torch.tensor([[6.0, 0.0]]), settings).item() == 0
    coldest = SamplerSettings(temperature=0.0)
    assert race(logits, torch.tensor([[9.0, 0.0]]), coldest).item() == 1


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


def test_rounding_makes_no_uniform_number_of_one(monkeypatch):
    """It would stand for no code at all."""
    most = 1 - 2.0**-53
    monkeypatch.setattr(torch, "rand", lambda n, **how: torch.full((n,), most, dtype=how["dtype"]))
    assert uniforms_for([0], 2).tolist() == [[1 - 2.0**-24] * 2]
