import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_jaccard_index

from data_prep.scenes.description import COLORS, LABELS, MATERIALS
from editar_bench.evaluators import segmenter
from editar_bench.metrics import segmentation as m
from editar_bench.types import Task
from tests.editar_bench.metrics.making import FakeJudges, example, judges, noise


def _example(**truth):
    return example(Task.SEGMENTATION, edit_mask=None, truth=truth)


def test_the_vocabulary_has_as_many_words_as_the_heads():
    assert len(LABELS) == segmenter.CLASSES == m.CLASSES
    assert len(COLORS) + 1 == segmenter.COLORS
    assert len(MATERIALS) + 1 == segmenter.MATERIALS


def test_confusion_has_truth_in_rows():
    true, found = np.array([[0, 0], [1, 1]], np.uint8), np.array([[0, 2], [1, 1]], np.uint8)
    (matrix,) = m.SegMiou(FakeJudges(label=found)).observe([_example(label=true)], [noise(1)])
    assert matrix[0, 0] == 1
    assert matrix[0, 2] == 1
    assert matrix[1, 1] == 2
    assert matrix.sum() == 4


def test_miou_by_hand_over_the_classes_of_the_truth():
    matrix = np.zeros((1, 9, 9), np.int64)
    matrix[0, 0, 0], matrix[0, 0, 5] = 6, 2  # class 0: 6 of 8; class 5 is never true
    matrix[0, 1, 1], matrix[0, 1, 0] = 4, 4  # class 1: 4 of 8
    expected = (6 / 12 + 4 / 8) / 2
    assert m.SegMiou(judges()).reduce(matrix) == pytest.approx(expected)


def test_miou_pools_the_set_and_agrees_with_torchmetrics():
    rng = np.random.default_rng(0)
    true, found = rng.integers(0, 9, (2, 3, 32, 32), dtype=np.uint8)
    metric = m.SegMiou(judges())
    matrices = [
        m.SegMiou(FakeJudges(label=f)).observe([_example(label=t)], [noise(1)])[0]
        for t, f in zip(true, found, strict=True)
    ]
    expected = multiclass_jaccard_index(torch.from_numpy(found), torch.from_numpy(true), 9)
    assert metric.reduce(np.stack(matrices)) == pytest.approx(float(expected))


def test_a_sample_without_a_truth_leaves_the_others_their_values():
    truth = np.ones((4, 4), np.uint8)
    metric = m.SegMiou(FakeJudges(label=truth))
    rows = np.stack(metric.observe([_example(), _example(label=truth)], [noise(1), noise(2)]))
    assert metric.counted(rows).tolist() == [False, True]
    assert metric.reduce(rows) == 1


def test_miou_of_nothing_is_undefined():
    assert m.SegMiou(judges()).reduce(np.zeros((2, 9, 9), np.int64)) is None


@pytest.mark.parametrize(
    ("metric", "name"), [(m.ColorAccuracy, "color"), (m.MaterialAccuracy, "material")]
)
def test_accuracy_counts_pixels_of_objects_only(metric, name):
    true, found = np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8)
    true[:2, :2] = 3
    found[:2, :1] = 3  # two of four object pixels are right
    found[3, 3] = 1  # not an object: does not count
    scored = metric(FakeJudges(**{name: found})).score([_example(**{name: true})], [noise(1)])
    assert scored[0].value == pytest.approx(0.5)


def test_accuracy_without_objects_is_undefined():
    nothing = np.zeros((32, 32), np.uint8)
    (score,) = m.ColorAccuracy(judges()).score([_example(color=nothing)], [noise(1)])
    assert score.value is None
    assert score.reason


def test_a_reading_does_not_depend_on_its_batch():
    label = np.zeros((32, 32), np.uint8)
    images = [noise(20 + i) for i in range(3)]
    judges().store.clear()
    together = m.SegMiou(judges()).observe([_example(label=label)] * 3, images)
    judges().store.clear()
    for matrix, image in zip(together, images, strict=True):
        (alone,) = m.SegMiou(judges()).observe([_example(label=label)], [image])
        assert np.abs(matrix - alone).sum() <= 4  # ties in the last digit
