"""LlamaGen and Parti: first loss, order of seeing, cache, guidance, batches, conditions, and learning at all."""

from __future__ import annotations

from dataclasses import asdict
from math import log

import pytest
import torch
import torch.nn.functional as F

from models.compact import llamagen as llamagen_module
from models.compact import parti as parti_module
from models.compact.llamagen import LlamaGen, at_the_end
from models.compact.next_token import sample_codes
from models.compact.parti import Parti, PartiConfig
from models.editar.choosing import SamplerSettings, uniforms_for
from models.editar.config import TransformerConfig
from models.editar.rotary import rotary_table, rotate
from models.training.settings import LLAMAGEN, PARTI
from tests.models.compact.conftest import CODES, CONFIG, COUNT, SLOTS, WIDTH, enliven

TOKENS = torch.tensor([5, 2, 3])  # of the three captions
MASK = torch.arange(SLOTS) < TOKENS[:, None]
KEEP = torch.zeros(3, dtype=torch.bool)


class Llama:
    """What a test needs of LlamaGen; the condition is not for it."""

    uses_condition = False

    def __init__(self):
        self.model = LlamaGen(CONFIG)

    def train(self, text, condition, target, drop=KEEP):
        return self.model.forward_train(*at_the_end(text, MASK), target, drop[: len(text)])

    def reader(self, text, condition, halves):
        return llamagen_module._Reader(self.model, *at_the_end(text, MASK), halves)

    def sample(self, text, condition, settings, uniforms, rows=slice(None)):
        return self.model.sample(*at_the_end(text, MASK[rows]), settings, uniforms)


class EncoderDecoder:
    """What a test needs of Parti."""

    uses_condition = True

    def __init__(self):
        self.model = Parti(PartiConfig(**asdict(CONFIG), encoder_layers=1))

    def train(self, text, condition, target, drop=KEEP):
        keep = torch.zeros(len(text), dtype=torch.bool)
        return self.model.forward_train(text, condition, target, drop[: len(text)], keep)

    def reader(self, text, condition, halves):
        return parti_module._Reader(self.model, text, condition, halves)

    def sample(self, text, condition, settings, uniforms, rows=slice(None)):
        return self.model.sample(text, condition, settings, uniforms)


@pytest.fixture(params=[Llama, EncoderDecoder])
def kind(request):
    torch.manual_seed(0)
    return request.param()


@pytest.fixture
def lively(kind):
    """A model whose attention looks at something and whose head says something."""
    enliven(kind.model)
    kind.model.eval()
    return kind


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(1)
    text = torch.randn(3, SLOTS, WIDTH, generator=generator)
    condition, target = torch.randint(CODES, (2, 3, COUNT), generator=generator)
    return text, condition, target


def test_the_first_loss_is_that_of_knowing_nothing(kind, data):
    logits = kind.train(*data)
    assert logits.shape == (3, COUNT, CODES)
    assert logits.dtype == torch.float32
    loss = F.cross_entropy(logits.flatten(0, 1), data[2].flatten())
    assert float(loss.detach()) == pytest.approx(log(CODES), abs=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("j", [0, 6, COUNT - 2])
def test_no_prediction_sees_its_own_code_or_a_later_one(lively, data, j):
    text, condition, target = data
    changed = target.clone()
    changed[:, j] = (changed[:, j] + 1) % CODES
    before, after = lively.train(text, condition, target), lively.train(text, condition, changed)
    assert torch.equal(before[:, : j + 1], after[:, : j + 1])
    assert (before[:, j + 1] - after[:, j + 1]).abs().amax(-1).min() > 1e-3


@torch.inference_mode()
@pytest.mark.parametrize("halves", [1, 2])
def test_codes_one_by_one_give_the_logits_of_all_at_once(lively, data, halves):
    text, condition, target = data
    reader = lively.reader(text, condition, halves)
    steps = [reader.first(), *(reader.step(target[:, i], i) for i in range(COUNT - 1))]
    logits_BGNV = torch.stack(steps, 2)
    assert logits_BGNV.shape == (3, halves, COUNT, CODES)
    assert torch.allclose(logits_BGNV[:, 0], lively.train(*data), atol=1e-4)
    if halves == 2:
        assert torch.allclose(logits_BGNV[:, 1], lively.train(*data, drop=~KEEP), atol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_sampling_draws_from_the_guided_distribution(lively, data, guidance):
    text, condition, _ = data
    settings = SamplerSettings(guidance=guidance, greedy=True)
    made = lively.sample(text, condition, settings, torch.zeros(3, COUNT))
    own, null = lively.train(text, condition, made), lively.train(text, condition, made, ~KEEP)
    assert torch.equal(made, (null + guidance * (own - null)).argmax(-1))
    assert len(made.unique()) > 2  # or else it would show little


def test_with_the_text_dropped_both_guidance_halves_agree(lively, data):
    text, condition, target = data
    nothing = lively.model.cls_embedding.uncond_embedding.expand_as(text)
    with torch.inference_mode():
        if not lively.uses_condition:  # its captions move to the end of the slots first
            mask = torch.ones(3, SLOTS, dtype=torch.bool)
            reader = llamagen_module._Reader(lively.model, nothing, mask, 2)
        else:
            reader = lively.reader(nothing, condition, 2)
        for logits in (reader.first(), reader.step(target[:, 0], 0)):
            assert torch.allclose(logits[:, 0], logits[:, 1], atol=1e-5)


def test_company_in_the_batch_changes_no_code_and_seeds_repeat(lively, data):
    text, condition, _ = data
    settings = SamplerSettings(guidance=2.0, top_k=10)
    seeds = [3, 2**62, 5]
    whole = lively.sample(text, condition, settings, uniforms_for(seeds, COUNT))
    for i in range(3):
        rows = slice(i, i + 1)
        uniforms = uniforms_for(seeds[rows], COUNT)
        alone = lively.sample(text[rows], condition[rows], settings, uniforms, rows)
        assert torch.equal(alone, whole[rows])
    other = lively.sample(text, condition, settings, uniforms_for([4, 2**62, 5], COUNT))
    assert torch.equal(other[1:], whole[1:])
    assert not torch.equal(other[0], whole[0])


@torch.no_grad()
def test_two_samples_that_swap_conditions_swap_predictions(data):
    torch.manual_seed(0)
    kind = EncoderDecoder()
    torch.nn.init.normal_(kind.model.output.weight)
    text, condition, target = (x[:1].expand(2, *x.shape[1:]) for x in data)
    condition = data[1][:2]
    logits, swapped = (
        kind.train(text, condition, target),
        kind.train(text, condition.flip(0), target),
    )
    assert torch.allclose(swapped, logits.flip(0), atol=1e-5)
    assert (swapped - logits).abs().max() > 1e-2


@torch.no_grad()
def test_the_null_picture_hides_the_condition(data):
    torch.manual_seed(0)
    model = EncoderDecoder().model
    torch.nn.init.normal_(model.output.weight)
    text, condition, target = data
    first, second = (
        model.forward_train(text, codes, target, KEEP, ~KEEP)
        for codes in (condition, condition.flip(0))
    )
    assert torch.equal(first, second)


def test_it_learns_eight_samples_by_heart(kind):
    generator = torch.Generator().manual_seed(2)
    text = torch.randn(8, SLOTS, WIDTH, generator=generator)
    condition, target = torch.randint(CODES, (2, 8, COUNT), generator=generator)
    mask, keep = torch.ones(8, SLOTS, dtype=torch.bool), torch.zeros(8, dtype=torch.bool)
    inputs = (text, condition) if kind.uses_condition else (text, mask)
    optimizer = torch.optim.AdamW(kind.model.parameters(), lr=2e-2, weight_decay=0)
    drops = (keep, keep) if kind.uses_condition else (keep,)
    for _ in range(150):
        optimizer.zero_grad()
        logits = kind.model.forward_train(*inputs, target, *drops)
        loss = F.cross_entropy(logits.flatten(0, 1), target.flatten())
        if loss.detach() < 0.1:
            return
        loss.backward()
        optimizer.step()
    pytest.fail(f"the loss is still {float(loss.detach()):.2f}")


def test_captions_stand_at_the_end_and_padding_is_zero():
    text = torch.arange(1.0, 13).view(2, 3, 2)
    moved, mask = at_the_end(text, torch.tensor([[1, 1, 0], [1, 1, 1]]))
    assert moved.tolist() == [[[0, 0], [1, 2], [3, 4]], [[7, 8], [9, 10], [11, 12]]]
    assert mask.tolist() == [[False, True, True], [True, True, True]]


@torch.no_grad()
def test_the_number_of_empty_slots_does_not_matter(data):
    torch.manual_seed(0)
    long, short = LlamaGen(CONFIG).eval(), None
    torch.nn.init.normal_(long.output.weight)
    short = LlamaGen(TransformerConfig(**asdict(CONFIG) | {"cls_token_num": 3})).eval()
    state = long.state_dict()
    null = "cls_embedding.uncond_embedding"
    short.load_state_dict(state | {null: state[null][-3:]})
    text, _, target = data
    mask = torch.arange(SLOTS).expand(3, -1) < 3
    own = long.forward_train(*at_the_end(text, mask), target, KEEP)
    cut = short.forward_train(text[:, :3], mask[:, :3], target, KEEP)
    assert torch.allclose(own, cut, atol=1e-5)


@torch.no_grad()
def test_llamagens_token_dropout_is_of_captions_and_codes_alike(data):
    """As published, other than EditAR's: where all tokens are lost, nothing is known."""
    config = TransformerConfig(**asdict(CONFIG) | {"token_dropout": 1.0})
    torch.manual_seed(0)
    model = LlamaGen(config).train()
    torch.nn.init.normal_(model.output.weight)
    text, _, target = data
    logits = model.forward_train(*at_the_end(text, MASK), target, KEEP)
    assert torch.equal(logits, logits[:1, :1].expand_as(logits))


@torch.no_grad()
def test_cross_attention_by_hand():
    """Text by what it says, the picture also by where it lies, both with the scale of one head's width."""
    torch.manual_seed(0)
    config = PartiConfig(**asdict(CONFIG), encoder_layers=1)
    cross = parti_module.CrossAttention(config)
    torch.nn.init.normal_(cross.place_query_HK)
    torch.nn.init.normal_(cross.place_key_HK)
    for layer in (cross.wq, cross.wk, cross.wv):
        torch.nn.init.normal_(layer.weight, std=0.4)
    encoded, x = torch.randn(2, SLOTS + COUNT, 32), torch.randn(2, 3, 32)
    table = rotary_table(config.side, 0, config.head_dim)
    source, asking = table[:COUNT], table[COUNT : COUNT + 3]
    made = cross(x, cross.read(encoded, source), asking)

    def heads(y):
        return y.unflatten(-1, (2, 16)).transpose(1, 2)

    q, k, v = heads(cross.wq(x)), heads(cross.wk(encoded)), heads(cross.wv(encoded))
    text = q @ k[:, :, :SLOTS].mT
    placed = rotate(q + cross.place_query_HK[:, None], asking)
    image = placed @ rotate(k[:, :, SLOTS:] + cross.place_key_HK[:, None], source).mT
    weights = (torch.cat([text, image], -1) / 16**0.5).softmax(-1)
    expected = cross.wo((weights @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(made, expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_llamagen_reads_its_caption(data):
    torch.manual_seed(0)
    kind = Llama()
    torch.nn.init.normal_(kind.model.output.weight)
    text, condition, target = data
    difference = kind.train(text, condition, target) - kind.train(text.flip(2), condition, target)
    assert difference.abs().amax((1, 2)).min() > 1e-4


def test_the_last_code_is_never_read():
    class Reader:
        def __init__(self):
            self.read = []

        def first(self):
            return torch.eye(4)[:1, None]

        def step(self, codes, place):
            self.read.append((int(codes), place))
            return torch.eye(4)[place + 1][None, None]

    reader = Reader()
    settings = SamplerSettings(guidance=1.0, greedy=True)
    assert sample_codes(reader, 3, settings, torch.zeros(1, 3)).tolist() == [[0, 1, 2]]
    assert reader.read == [(0, 0), (1, 1)]


@pytest.mark.parametrize(("network", "config"), [(LlamaGen, LLAMAGEN), (Parti, PARTI)])
def test_the_shipped_sizes_keep_the_budget(network, config):
    with torch.device("meta"):
        model = network(config)
    assert 1.9e6 < sum(p.numel() for p in model.parameters()) < 2.0e6


@pytest.mark.parametrize(("network", "config"), [(LlamaGen, LLAMAGEN), (Parti, PARTI)])
def test_a_cast_does_not_round_the_rotary_table(network, config):
    model = network(config)
    before = model.rotary.clone()
    assert torch.equal(model.bfloat16().rotary, before)
    assert model.rotary.dtype == torch.float32
