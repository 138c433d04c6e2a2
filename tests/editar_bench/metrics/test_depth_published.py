"""The three depth protocols by hand, and DPT's input beside transformers' own processor."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import DPTConfig, DPTForDepthEstimation, DPTImageProcessorPil

from editar_bench.errors import UserError
from editar_bench.evaluators.dpt import DptDepth
from editar_bench.evaluators.released import Released
from editar_bench.metrics import depth_published as d
from editar_bench.types import Task
from tests.editar_bench.metrics.making import example, noise


class FakeDepth(torch.nn.Module):
    """Says what it is told, whatever the picture, and notes the size it was asked for."""

    def __init__(self, estimate):
        super().__init__()
        self.said = torch.as_tensor(estimate, dtype=torch.float32)
        self.sides = []

    def estimate(self, pictures, side):
        self.sides.append(side)
        return self.said.expand(len(pictures), *self.said.shape)


def sample(label, name="e0"):
    return example(
        Task.DEPTH, id=name, edit_mask=None, truth={"control_depth": label.astype(np.uint8)}
    )


def halves(left, right, size=512):
    """Two flat halves."""
    out = np.full((size, size), float(left))
    out[:, size // 2 :] = right
    return out


def score(kind, estimate, label):
    (result,) = kind(Released(dpt_large=FakeDepth(estimate))).score([sample(label)], [noise(1)])
    return result


def test_editar_stretches_both_and_controlar_only_divides():
    estimate, label = halves(10, 20), halves(100, 200)
    # Both from their minimum to their maximum: 0 and 255 against 0 and 255.
    assert score(d.DepthRmseMinmax, estimate, label).value == 0
    # 127.5 and 255 against 100 and 200.
    expected = np.sqrt((27.5**2 + 55**2) / 2)
    assert score(d.DepthRmseMax512, estimate, label).value == pytest.approx(expected, rel=1e-6)


def test_controlnet_plus_plus_truncates_the_estimate_and_stretches_the_label():
    metric = d.DepthRmseMax(Released(dpt_large=FakeDepth(halves(10, 20))))
    rows = metric.observe([sample(halves(100, 200))] * 4, [noise(i) for i in range(4)])
    # 127.5 is cut to 127 and compared with 0; 255 with 255.
    assert metric.reduce(np.stack(rows)) == pytest.approx(np.sqrt(127**2 / 2))
    assert metric.reduce(np.stack(rows[:3])) is None  # another protocol than four pictures


def test_the_estimate_is_divided_before_it_is_scaled():
    # In float32 7.12 / 10.68 * 255 is just below 170, and 7.12 * 255 / 10.68 is not.
    metric = d.DepthRmseMax(Released(dpt_large=FakeDepth(halves(7.12, 10.68))))
    (row,) = metric.observe([sample(halves(0, 255))], [noise(0)])
    assert row[1] == pytest.approx(np.sqrt(169**2 / 2))


def test_labels_of_another_size_are_enlarged_without_mixing():
    small = halves(0, 255, 4)
    assert score(d.DepthRmseMax512, halves(1e-9, 1), small).value == pytest.approx(0, abs=1e-5)


def test_an_undefined_picture_leaves_the_others_their_values():
    metric = d.DepthRmseMax(Released(dpt_large=FakeDepth(halves(10, 20))))
    flat = np.full_like(halves(0, 1), 7)
    rows = np.stack(metric.observe([sample(flat), sample(halves(100, 200))], [noise(0), noise(1)]))
    assert np.isnan(rows[0, 1]) and rows[1, 1] == pytest.approx(np.sqrt(127**2 / 2))


def test_prompts_are_averaged_over_their_pictures():
    metric = d.DepthRmseMax(Released(dpt_large=FakeDepth(halves(0, 20))))
    labels = {"a": halves(0, 255), "b": halves(255, 0)}
    pairs = [(sample(labels[n], n), noise(i)) for n in "ab" for i in range(4)]
    rows = np.stack(metric.observe(*map(list, zip(*pairs, strict=True))))
    assert metric.reduce(rows) == pytest.approx(255 / 2)
    assert metric.reduce(rows[:4]) == 0 and metric.reduce(rows[4:]) == 255


@pytest.mark.parametrize(
    ("kind", "side"),
    [(d.DepthRmseMinmax, 384), (d.DepthRmseMax512, 512), (d.DepthRmseMax, 384)],
)
def test_each_protocol_asks_for_its_own_input_size(kind, side):
    fake = FakeDepth(halves(1, 2))
    kind(Released(dpt_large=fake)).estimates([noise(1)])
    assert fake.sides == [side]


def test_small_estimates_are_enlarged_by_pil_bilinear_in_8_bit():
    estimate = np.random.default_rng(0).random((384, 384)).astype(np.float32)
    estimate[0, 0], estimate[0, 1] = 0, 1
    label = np.random.default_rng(1).integers(0, 256, (512, 512))
    label[0, :2] = 0, 255
    gray = np.floor(estimate.astype(np.float64) * 255).astype(np.uint8)
    large = np.asarray(Image.fromarray(gray).resize((512, 512), Image.Resampling.BILINEAR))
    stretched = np.trunc(label / 255 * 255)
    expected = np.sqrt(np.mean((large.astype(float) - stretched) ** 2))
    assert score(d.DepthRmseMinmax, estimate, label).value == pytest.approx(expected, rel=1e-5)


def test_stretching_keeps_full_range_labels_and_truncates_others():
    levels = np.arange(256)
    assert np.array_equal(d.stretched(levels), levels)
    assert d.stretched(np.array([10, 13, 20])).tolist() == [0, 76, 255]  # 76.5 is cut


@pytest.mark.parametrize("kind", [d.DepthRmseMinmax, d.DepthRmseMax512])
def test_a_flat_estimate_has_no_value(kind):
    result = score(kind, np.zeros((512, 512)), halves(0, 255))
    assert result.value is None and result.reason


def test_an_estimate_that_is_nowhere_positive_has_no_value():
    result = score(d.DepthRmseMax512, halves(-1, 0), halves(0, 255))
    assert result.value is None and "nowhere positive" in result.reason
    metric = d.DepthRmseMax(Released(dpt_large=FakeDepth(halves(0, 0))))
    (row,) = metric.observe([sample(halves(0, 255))], [noise(1)])
    assert np.isnan(row[1])


@pytest.mark.parametrize("kind", [d.DepthRmseMinmax, d.DepthRmseMax512, d.CleanDepthAligned])
@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_an_estimate_that_is_not_finite_has_no_value(kind, broken):
    estimate = halves(10, 20)
    estimate[3, 4] = broken
    result = score(kind, estimate, halves(0, 255))
    assert result.value is None and "not finite" in result.reason
    metric = d.DepthRmseMax(Released(dpt_large=FakeDepth(estimate)))
    (row,) = metric.observe([sample(halves(0, 255))], [noise(1)])
    assert np.isnan(row[1])


def test_the_aligned_form_forgives_scale_and_shift_but_not_order():
    label = np.tile(np.linspace(0, 255, 512), (512, 1)).astype(np.uint8)
    assert score(d.CleanDepthAligned, label * 3.0 + 7, label).value == pytest.approx(0, abs=1e-3)
    up_down = np.concatenate([label[:, ::2], label[:, ::-2]], 1).astype(float)
    residual = label - np.polyval(np.polyfit(up_down.ravel(), label.ravel(), 1), up_down)
    expected = np.sqrt((residual**2).mean())
    assert score(d.CleanDepthAligned, up_down, label).value == pytest.approx(expected, rel=1e-4)
    assert score(d.CleanDepthAligned, np.ones((384, 384)), label).value == pytest.approx(
        label.std(), rel=1e-6
    )


def test_the_aligned_form_enlarges_estimates_by_bilinear_and_does_not_round():
    estimate = noise(2, 8)[..., 0] / np.float32(7)
    large = Image.fromarray(estimate).resize((512, 512), Image.Resampling.BILINEAR)
    label = np.rint(np.asarray(large) * 7)
    assert score(d.CleanDepthAligned, estimate, label).value < 0.3  # the label's own rounding


def tiny_dpt():
    torch.manual_seed(0)
    config = DPTConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=384,
        patch_size=32,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        is_hybrid=False,
    )
    model = DPTForDepthEstimation(config).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


@pytest.mark.parametrize("side", [384, 512])
@pytest.mark.parametrize("named", [None, Image.Resampling.BILINEAR])
def test_dpt_is_fed_as_by_its_processor(tmp_path, monkeypatch, side, named):
    model = tiny_dpt()
    folder = tmp_path / "Intel" / "dpt-large"
    model.save_pretrained(folder)
    if named is not None:  # the checkpoint's own settings come before those of today's class
        settings = {"feature_extractor_type": "DPTFeatureExtractor", "resample": int(named)}
        (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    monkeypatch.setenv("EDITAR_BENCH_WEIGHTS", str(tmp_path))
    ours = Released()["dpt-large"]
    assert isinstance(ours, DptDepth)
    picture = np.asarray(Image.fromarray(noise(4, 20)).resize((300, 300)))
    processor = DPTImageProcessorPil(
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
        size={"height": side, "width": side},
        resample=Image.Resampling.BICUBIC if named is None else named,
    )
    with torch.no_grad():
        expected = model(**processor(images=picture, return_tensors="pt")).predicted_depth
    assert expected.std() > 1e-3
    assert torch.allclose(ours.estimate([picture], side), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("settings", ["{", '{"resample": 77}'])
def test_damaged_settings_of_the_processor_are_one_sentence(tmp_path, monkeypatch, settings):
    folder = tmp_path / "Intel" / "dpt-large"
    tiny_dpt().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(settings)
    monkeypatch.setenv("EDITAR_BENCH_WEIGHTS", str(tmp_path))
    with pytest.raises(UserError, match="preprocessor_config.json cannot be used"):
        Released()["dpt-large"]


def test_estimates_through_another_filter_have_another_name():
    filters = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC
    one, two = (Released(dpt_large=DptDepth(tiny_dpt(), own)) for own in filters)
    assert one.fingerprint("dpt-large") != two.fingerprint("dpt-large")
