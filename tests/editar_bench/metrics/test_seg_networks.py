"""Pooled mIoU by a segmenter, through the metric: numbering, pooling, and how many pictures a prompt has."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from editar_bench.evaluators.released import Released
from editar_bench.metrics.seg_networks import SegAde, SegAdeShifted, SegCoco, SegCocoPresent
from editar_bench.types import Task
from tests.editar_bench.metrics.making import example


class Reads(torch.nn.Module):
    """Finds in every pixel the class that its red says."""

    def __init__(self):
        super().__init__()
        self.sides = []

    def classes(self, pictures, side):
        self.sides.append(side)
        return torch.from_numpy(np.stack(pictures)[..., 0]).long()


def painted(classes):
    return np.repeat(np.asarray(classes, np.uint8)[..., None], 3, 2)


def metric(kind, role):
    network = Reads()
    return kind(Released(**{role: network})), network


def reduced(kind, role, samples):
    measure, network = metric(kind, role)
    examples = [
        example(Task.SEGMENTATION, id=i, truth={"label": np.array(t)}) for i, t, _ in samples
    ]
    observed = measure.observe(examples, [painted(found) for *_, found in samples])
    return measure.reduce(np.stack(observed)), network


COCO = [
    ("a", [[0, 0], [1, 255]], [[0, 1], [1, 170]]),  # 255 does not count
    ("b", [[1, 1], [1, 1]], [[1, 1], [1, 2]]),
]


@pytest.mark.parametrize("kind", [SegCoco, SegCocoPresent])
def test_coco_pixels_are_pooled_before_the_mean_over_classes(kind):
    # class 0: 1 right, 2 labeled, 1 found; class 1: 4 right, 5 labeled, 5 found; class 2 is only found
    value, network = reduced(kind, "deeplab_coco", COCO)
    assert value == pytest.approx(100 * (1 / 2 + 4 / 6 + 0) / 3)
    assert network.sides == [512]


ADE = [(name, [[0, 1], [1, 150]], [[7, 0], [1, 149]]) for name in "aaaa"]


def test_ade_labels_count_from_one_and_four_pictures_are_wanted():
    # label 1 is class 0: 4 right of 8; label 150 is class 149: 4 right; class 1 is only found
    assert reduced(SegAde, "mask2former_ade", ADE)[0] == pytest.approx(100 * (4 / 8 + 0 + 1) / 3)
    assert reduced(SegAde, "mask2former_ade", ADE[:3])[0] is None


def test_controlars_form_loses_the_last_class_and_takes_any_number_at_640():
    value, network = reduced(SegAdeShifted, "mask2former_ade", ADE[:1])
    assert value == pytest.approx(100 * (1 / 2 + 0) / 2)
    assert network.sides == [640]


@pytest.mark.parametrize(
    ("kind", "role", "counted"),
    [
        (SegAdeShifted, "mask2former_ade", [1, 0, 1]),  # ControlAR's: one picture a prompt
        (SegCocoPresent, "deeplab_coco", [1, 0, 1]),
        (SegCoco, "deeplab_coco", [1, 1, 1]),  # EditAR's one and ControlNet++'s four
    ],
)
def test_which_pictures_of_a_prompt_count(kind, role, counted):
    measure, _ = metric(kind, role)
    examples = [
        example(Task.SEGMENTATION, id=i, truth={"label": np.ones((2, 2), int)}) for i in "aab"
    ]
    observed = measure.observe(examples, [painted([[n, n], [n, n]]) for n in (0, 1, 0)])
    assert list(measure.counted(np.stack(observed))) == [bool(c) for c in counted]


@pytest.mark.parametrize("kind", [SegCoco, SegCocoPresent])
def test_a_sample_without_labels_leaves_the_others_their_values(kind):
    measure, _ = metric(kind, "deeplab_coco")
    without = example(Task.SEGMENTATION, id="b")
    labeled = example(Task.SEGMENTATION, id="a", truth={"label": np.array([[0, 1]])})
    rows = np.stack(measure.observe([without, labeled], [painted([[0, 1]])] * 2))
    assert measure.counted(rows).tolist() == [False, True]
    assert measure.reduce(rows[1:]) == 100


def test_a_segmenter_is_asked_once_for_two_protocols():
    network = Reads()
    networks = Released(deeplab_coco=network)
    sample = example(Task.SEGMENTATION, truth={"label": np.zeros((2, 2), int)})
    for kind in (SegCoco, SegCocoPresent):
        kind(networks).observe([sample], [painted([[0, 1], [2, 3]])])
    assert len(network.sides) == 1


def test_what_a_segmenter_says_of_one_size_is_not_taken_for_another():
    network = Reads()
    networks = Released(mask2former_ade=network)
    sample = example(Task.SEGMENTATION, truth={"label": np.zeros((2, 2), int)})
    for kind in (SegAde, SegAdeShifted):
        kind(networks).observe([sample], [painted([[0, 1], [2, 3]])])
    assert network.sides == [512, 640]
