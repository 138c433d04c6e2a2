"""VAR: first loss, order of scales, cache, the recursion, guidance, batches, learning at all."""

from __future__ import annotations

from math import log

import pytest
import torch
import torch.nn.functional as F

from models.compact import var as module
from models.compact.var import REACH, Readings, VarConfig, teacher_readings
from models.editar.choosing import SamplerSettings, uniforms_for
from tests.models.compact.conftest import CODE_DIM, CODES, SCALES, SIDE, enliven, fresh_var

SIZES = [side**2 for side in SCALES]
TOTAL = sum(SIZES)
PLAIN = SamplerSettings(guidance=1.0, top_k=0)


@pytest.fixture
def model():
    return enliven(fresh_var())


def pyramid(seed=3):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(CODES, (3, n), generator=generator) for n in SIZES]


def logits(model, codec, conditions, codes):
    return reading(model, codec, conditions, codes, conditions.keep)


def reading(model, codec, conditions, codes, drop_image):
    readings = teacher_readings(codec, codes, conditions.codes)
    return model.forward_train(*conditions[:2], readings, conditions.keep, drop_image)


def sample(model, codec, conditions, settings=PLAIN, seeds=(1, 2, 3), rows=slice(None)):
    uniforms = uniforms_for(seeds, TOTAL)
    text, codes = conditions.text[rows], conditions.codes[rows]
    return torch.cat(model.sample(codec, text, codes, settings, uniforms), 1)


def test_first_loss_is_that_of_guessing(codec, conditions):
    got = logits(fresh_var(), codec, conditions, pyramid())
    assert got.shape == (3, TOTAL, CODES)
    loss = F.cross_entropy(got.flatten(0, 1), torch.cat(pyramid(), 1).flatten())
    assert float(loss.detach()) == pytest.approx(log(CODES), abs=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("scale", range(len(SCALES)))
def test_a_code_is_read_by_finer_scales_only(model, codec, conditions, scale):
    first = logits(model, codec, conditions, pyramid()).split(SIZES, 1)
    other = pyramid()
    other[scale][:, 0] = (other[scale][:, 0] + 1) % CODES
    second = logits(model, codec, conditions, other).split(SIZES, 1)
    for k, (a, b) in enumerate(zip(first, second, strict=True)):
        if k <= scale:
            assert torch.equal(a, b)
        else:  # every position of it
            assert ((a - b).abs().amax(-1) > 1e-5).all()


def test_sampling_is_the_teachers_recursion(model, codec, conditions, monkeypatch):
    read, drawn_from = [], []
    scale = model._scale

    def watched(readings, k, seen):
        made = scale(readings, k, seen)
        read.append(readings)
        drawn_from.append(made[0])
        return made

    monkeypatch.setattr(model, "_scale", watched)
    uniforms = uniforms_for([1, 2, 3], TOTAL)
    codes = model.sample(codec, *conditions[:2], PLAIN, uniforms)
    taught = teacher_readings(codec, codes, conditions.codes)
    assert torch.equal(torch.cat([r.inputs_BLI for r in read], 1), taught.inputs_BLI)
    assert all(torch.equal(r.codes_VC, taught.codes_VC) for r in read)
    assert not read[0].coarser_BLC.any()
    with torch.no_grad():  # with the cache, scale by scale, and all at once
        whole = logits(model, codec, conditions, codes)
    assert torch.allclose(torch.cat(drawn_from, 1), whole, atol=1e-4)
    sums = codec.multiscale.partial_sums(codes, codec.quantize)
    for k in range(1, len(SCALES)):
        assert torch.equal(
            read[k].coarser_BLC, codec.multiscale.reduce(sums[k - 1], k).flatten(2).mT
        )


def test_every_scale_reads_the_condition_on_its_own_grid(codec, conditions):
    read = teacher_readings(codec, pyramid(), conditions.codes).matched_BLC.split(SIZES, 1)
    vectors = codec.quantize.embedding.weight[conditions.codes]
    assert torch.equal(read[-1], vectors)
    assert torch.allclose(read[0][:, 0], vectors.mean(1), atol=1e-6)
    quarter = vectors.unflatten(1, (SIDE, SIDE))[:, : SIDE // 2, SIDE // 2 :].flatten(1, 2)
    assert torch.allclose(read[1][:, 1], quarter.mean(1), atol=1e-6)


@torch.no_grad()
def test_a_dropped_picture_is_read_nowhere(model, codec, conditions):
    other = conditions._replace(codes=(conditions.codes + 1) % CODES)
    for drop, alike in ((~conditions.keep, True), (conditions.keep, False)):
        first, second = (reading(model, codec, c, pyramid(), drop) for c in (conditions, other))
        assert torch.equal(first, second) is alike


def test_the_gate_weighs_codes_by_what_is_left_of_the_condition(codec):
    model = fresh_var()  # its learned head says nothing yet
    model.gate.weight.data.fill_(1.0)
    matched, coarser = torch.zeros(1, 1, CODE_DIM), torch.zeros(1, 1, CODE_DIM)
    matched[..., 0], coarser[..., 0] = 1.0, 0.25
    codes = torch.zeros(CODES, CODE_DIM)
    codes[0, 0], codes[1, 0], codes[2, 1] = 0.75, 0.5, 1.0
    hidden = torch.full((1, 1, model.config.dim), 2.0 / model.config.dim)  # a gate of two
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = model._logits(hidden, Readings(coarser, matched, codes))
    squared = torch.tensor([0.0, 0.0625, 0.5625 + 1.0])
    assert torch.allclose(logits[0, 0, :3], -2 * torch.log1p(squared / REACH), atol=1e-5)


def test_what_shipped_weights_and_fresh_ones_rest_on():
    assert REACH == 0.06  # the shipped gate was trained with it
    model = fresh_var()
    assert float(model.features.weight.detach().std()) == pytest.approx(
        0.1 / CODE_DIM**0.5, rel=0.1
    )
    assert float(model.levels.weight.detach().std()) == pytest.approx(0.02, rel=0.25)
    assert not model.gate.weight.any()


def test_readings_stay_in_float32_under_autocast(codec, conditions):
    with torch.autocast("cpu", torch.bfloat16):
        rounded = teacher_readings(codec, pyramid(), conditions.codes)
    exact = teacher_readings(codec, pyramid(), conditions.codes)
    assert all(map(torch.equal, rounded, exact))


def test_one_best_code_without_chance(model, codec, conditions):
    greedy = SamplerSettings(guidance=1.0, top_k=1)
    made = sample(model, codec, conditions, greedy)
    with torch.no_grad():
        best = logits(model, codec, conditions, made.split(SIZES, 1)).argmax(-1)
    assert torch.equal(made, best)
    assert not torch.equal(sample(model, codec, conditions), made)


def test_guidance_ramps_with_the_scale(model, codec, conditions, monkeypatch):
    strengths = []
    guide = module.guide
    monkeypatch.setattr(module, "guide", lambda x, s: (strengths.append(s), guide(x, s))[1])
    guided = sample(model, codec, conditions, SamplerSettings(guidance=3.0, top_k=0))
    assert strengths == [1.0, 2.0, 3.0]  # 1 + g_k of the paper, g_k = 2 · k/(K - 1)
    assert not torch.equal(guided, sample(model, codec, conditions))


def test_guidance_of_a_null_text_is_none(model, codec, conditions):
    null = model.cls_embedding.uncond_embedding.expand_as(conditions.text)
    blind = conditions._replace(text=null)
    guided = sample(model, codec, blind, SamplerSettings(guidance=3.0, top_k=0))
    assert torch.equal(guided, sample(model, codec, blind))


def test_seeds_and_company(model, codec, conditions):
    whole = sample(model, codec, conditions)
    assert torch.equal(sample(model, codec, conditions), whole)
    assert torch.equal(sample(model, codec, conditions, PLAIN, [2, 3], slice(1, 3)), whole[1:])
    assert not torch.equal(sample(model, codec, conditions, PLAIN, [1, 2, 4])[2], whole[2])
    order = [1, 0, 2]
    swapped = conditions._replace(text=conditions.text[order], codes=conditions.codes[order])
    assert torch.equal(sample(model, codec, swapped, PLAIN, [2, 1, 3]), whole[order])


def test_learns_a_few_pictures_by_heart(codec, conditions):
    model, target = fresh_var(), torch.cat(pyramid(), 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(120):
        loss = F.cross_entropy(
            logits(model, codec, conditions, pyramid()).flatten(0, 1), target.flatten()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.1
    greedy = SamplerSettings(guidance=1.0, top_k=1)
    assert torch.equal(sample(model, codec, conditions, greedy), target)


def test_config_reads_what_json_keeps():
    config = fresh_var().config
    values = {name: getattr(config, name) for name in config.__dataclass_fields__}
    assert VarConfig.from_dict(values | {"scales": list(config.scales)}) == config
    assert config.sizes == SIZES
