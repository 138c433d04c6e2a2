"""HED and line drawings against the published detectors and scripts at random weights, quirks included.

`golden/published/soft_edges.json` holds the two 8-bit maps that the published steps compare.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from editar_bench.evaluators.released import Released
from editar_bench.evaluators.soft_edges import HedEdges, LineDrawing
from editar_bench.metrics._ssim import ms_ssim
from editar_bench.metrics.soft_edges_published import (
    HedMsSsim,
    HedMsSsimX1,
    LineartMsSsim,
    LineartMsSsimX1,
)
from editar_bench.types import Task
from tests.editar_bench.evaluators.named_weights import named_tensor, noise_picture
from tests.editar_bench.metrics.making import example

GOLDEN = json.loads(
    (Path(__file__).parents[2] / "golden" / "published" / "soft_edges.json").read_text()
)
SOURCE, RESULT = noise_picture(192, 192, 1), noise_picture(192, 192, 2)
EXAMPLE = example(Task.EDGE, condition=SOURCE, target=SOURCE)


@pytest.fixture(scope="module")
def networks() -> Released:
    hed, drawing = HedEdges().eval(), LineDrawing().eval()
    for network in (hed, drawing):
        state = {k: named_tensor(k, v.shape) for k, v in network.state_dict().items()}
        if "norm" in state:
            state["norm"] *= 20
        network.load_state_dict(state)
        network.requires_grad_(False)
    return Released(hed=hed, lineart=drawing)


@pytest.mark.parametrize(
    ("kind", "name", "atol"),
    [
        (HedMsSsim, "hed_x4", 1),
        (LineartMsSsim, "lineart_x4", 1),
        (HedMsSsimX1, "hed_x1", 2e-3),
        (LineartMsSsimX1, "lineart_x1", 2e-3),
    ],
)
def test_the_maps_are_those_of_the_published_scripts(networks, kind, name, atol):
    metric = kind(networks)
    pair = metric.stored(*metric.maps([RESULT]), *metric.maps([SOURCE]))
    for found, golden in zip(pair, GOLDEN[name], strict=True):
        row = np.asarray(found, dtype=np.float64)[97, ::16]
        np.testing.assert_allclose(row, golden["row"], rtol=0, atol=atol)
        # A gray level may flip where two processors round the network's last bit otherwise.
        assert float(np.sum(found, dtype=np.float64)) == pytest.approx(golden["sum"], rel=2e-6)


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        (HedMsSsim, lambda x: (x / 255 * 255).clip(0, 255)),  # rounds on a GPU
        (HedMsSsimX1, lambda x: x),
        (LineartMsSsim, lambda x: x / 255),
        (LineartMsSsimX1, lambda x: x),  # though trained on 0 … 1
    ],
)
def test_what_each_protocol_shows_its_network(kind, shown):
    class Seeing(torch.nn.Module):
        def forward(self, pixels):
            seen.append(pixels)
            return pixels[:, 0]

    seen = []
    kind(Released(hed=Seeing(), lineart=Seeing())).maps([RESULT])
    colors = torch.from_numpy(RESULT.copy()).permute(2, 0, 1)[None].float()
    assert torch.equal(seen[0], shown(colors))


def test_the_value_is_multi_scale_ssim_of_these_maps(networks):
    metric = HedMsSsim(networks)
    found, true = metric.stored(*metric.maps([RESULT]), *metric.maps([SOURCE]))
    maps = [torch.from_numpy(np.asarray(m, np.float32))[None, None] / 255 for m in (found, true)]
    assert metric.value(EXAMPLE, RESULT) == pytest.approx(float(ms_ssim(*maps)))
    assert metric.value(EXAMPLE, SOURCE) == pytest.approx(1)


def test_the_wrapped_drawing_is_nearly_but_not_quite_the_inverse(networks):
    metric = LineartMsSsim(networks)
    (drawing,) = metric.maps([SOURCE])
    result, label = metric.stored(drawing, drawing)
    assert result.dtype == np.uint8
    cut = np.floor(drawing * np.float32(255)).astype(int)
    assert np.array_equal(result, np.where(cut < 2, 1 - cut, 257 - cut))
    assert 0 < np.abs(result.astype(int) - label).max() <= 3


def test_four_pictures_a_prompt_are_wanted_and_averaged(networks):
    metric = HedMsSsim(networks)
    pictures = [RESULT, SOURCE, RESULT, SOURCE]
    rows = np.stack(metric.observe([EXAMPLE] * 4, pictures))
    assert metric.reduce(rows) == pytest.approx(rows[:, 1].mean())
    assert rows[1, 1] > rows[0, 1]
    assert metric.reduce(rows[:3]) is None


def test_a_sample_without_a_true_picture_leaves_the_others_their_values(networks):
    metric = HedMsSsim(networks)
    without = replace(EXAMPLE, id="without", target=None)
    rows = np.stack(metric.observe([without, *[EXAMPLE] * 4], [RESULT] * 5))
    assert metric.counted(rows).tolist() == [False] + [True] * 4
    assert metric.reduce(rows[1:]) == pytest.approx(metric.value(EXAMPLE, RESULT))


def test_one_picture_a_prompt_is_a_score_of_its_own(networks):
    (score,) = LineartMsSsimX1(networks).score([EXAMPLE], [RESULT])
    assert 0 < score.value < 1 and score.protocol == "lineart.msssim.x1"
    (none,) = HedMsSsimX1(networks).score([replace(EXAMPLE, target=None)], [RESULT])
    assert none.value is None and "no true picture" in none.reason


@pytest.mark.parametrize(("role", "kind"), [("hed", HedEdges), ("lineart", LineDrawing)])
def test_the_detectors_are_read_from_their_published_files(tmp_path, monkeypatch, role, kind):
    from editar_bench.evaluators import sources

    monkeypatch.setenv(sources.WEIGHTS_VARIABLE, str(tmp_path))
    state = {k: named_tensor(k, v.shape).half() for k, v in kind().state_dict().items()}
    torch.save(state, tmp_path / sources.SOURCES[role].files[0])
    network = Released()[role]
    assert all(p.dtype == torch.float32 for p in network.parameters())
    name, tensor = next(iter(state.items()))
    assert torch.equal(network.state_dict()[name], tensor.float())
