"""What finished pictures are rewarded for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from data_prep.scenes.constants import IMAGE_SIZE
from editar_bench.types import Task
from models.training.reader_recipe import SHARES, truth_of
from models.training.rewards import WEIGHTS, Truth, reward, reward_parts

ROWS = np.array([1, 3])


class Oracle(nn.Module):
    """Reads what the bank says, whatever the picture."""

    def __init__(self, truth):
        super().__init__()
        self.truth = truth

    def forward(self, images):
        logs = {name: (self.truth[name] + 1e-9).log() for name in SHARES}
        return {**self.truth, **logs}


@pytest.fixture
def truth(bank):
    return Truth.of(bank, ROWS, "cpu")


@pytest.fixture
def objects(truth):
    return truth.read["label"][:, 2:].sum(1).mean((1, 2))


def test_truth_of_shares_adds_up_and_averages_two_by_two(bank):
    read = truth_of(bank, ROWS)
    for name in SHARES:
        assert torch.allclose(read[name].sum(1), torch.ones(2, IMAGE_SIZE // 2, IMAGE_SIZE // 2))
    label = bank.maps["label"][3, 10:12, 20:22]
    assert read["label"][1, label[0, 0], 5, 10] == np.mean(label == label[0, 0])
    depth = bank.maps["depth"][3, 10:12, 20:22].mean() / 255
    assert float(read["depth"][1, 0, 5, 10]) == pytest.approx(depth, abs=1e-6)


def test_only_targets_of_edits_have_changed_pixels(bank):
    both = Truth.of(bank, np.array([2, 3]), "cpu")
    half = IMAGE_SIZE // 2  # of the bank of tests, edits change the right halves only
    assert not both.changed_BHW[0].any()
    assert not both.changed_BHW[1, :, :half].any()
    assert both.changed_BHW[1, :, half:].mean() > 0.9


def test_the_true_picture_is_worth_most(truth, objects):
    parts = reward_parts(Oracle(truth.read), truth.rgb_B3HW, truth)
    # The bank of tests has maps of blocks, so that every share is 0 or 1.
    assert torch.allclose(parts["label"], 0.3 + objects, atol=1e-5)
    for name in ("color", "material"):
        assert torch.allclose(parts[name], objects, atol=1e-5)
    for name in ("depth", "normal", "inside", "outside"):
        assert torch.allclose(parts[name], torch.zeros(2), atol=1e-6), name


def test_what_is_read_wrong_costs_as_much_as_it_is_wrong(truth, objects):
    read = dict(truth.read)
    read["label"] = torch.full_like(read["label"], 1 / 9)
    read["depth"] = read["depth"] + 0.25
    read["normal"] = read["normal"] - 0.5
    parts = reward_parts(Oracle(read), truth.rgb_B3HW, truth)
    assert torch.allclose(parts["label"], (0.3 + objects) / 9, atol=1e-5)
    assert torch.allclose(parts["depth"], -0.25 * (0.3 + objects), atol=1e-5)
    assert torch.allclose(parts["normal"], -3 * 0.25 * (0.3 + objects), atol=1e-5)


def test_errors_are_told_apart_by_where_they_are(truth):
    images = truth.rgb_B3HW.clone()
    images[0, :, :4, :4] += 0.5  # left of every change
    images[1, :, :4, -4:] += 1.0
    parts = reward_parts(Oracle(truth.read), images, truth)
    inside = truth.changed_BHW.sum((1, 2))
    outside = IMAGE_SIZE**2 - inside
    hit = float(truth.changed_BHW[1, :4, -4:].sum())
    wanted = [-0.25 * 16 / float(outside[0]), -(16 - hit) / float(outside[1])]
    assert parts["outside"].tolist() == pytest.approx(wanted, abs=1e-7)
    assert parts["inside"].tolist() == pytest.approx([0, -hit / float(inside[1])], abs=1e-7)


def test_a_picture_that_no_edit_made_has_no_error_inside(bank):
    source = Truth.of(bank, np.array([2]), "cpu")
    parts = reward_parts(Oracle(source.read), source.rgb_B3HW + 1.0, source)
    assert float(parts["inside"]) == 0 and float(parts["outside"]) == pytest.approx(-1, abs=1e-5)


def test_every_picture_is_judged_for_its_own_task(truth):
    images = truth.rgb_B3HW + 0.1
    parts = reward_parts(Oracle(truth.read), images, truth)
    assert set(WEIGHTS) == {Task.EDIT, Task.DEPTH, Task.EDGE, Task.SEGMENTATION}
    for task in WEIGHTS:
        for tasks, index in (((task, Task.EDGE), 0), ((Task.EDGE, task), 1)):
            worth = reward(Oracle(truth.read), images, truth, tasks)
            expected = sum(w * float(parts[name][index]) for name, w in WEIGHTS[task].items())
            assert float(worth[index]) == pytest.approx(expected, rel=1e-5)
