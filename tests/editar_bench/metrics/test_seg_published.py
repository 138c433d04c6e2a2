"""Pooled mIoU by hand, and beside torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_confusion_matrix

from editar_bench.metrics.seg_published import (
    ADE,
    ADE_SHIFTED,
    COCO,
    Convention,
    pixel_counts,
    pooled_miou,
)


def miou(pairs, convention):
    return pooled_miou(np.stack([pixel_counts(*map(np.array, p), convention) for p in pairs]))


def test_counts_are_pooled_over_the_set_before_dividing():
    three = Convention(classes=3, ignored=255)
    first = ([[0, 0, 1, 1]], [[0, 1, 1, 1]])
    second = ([[0, 0, 0, 255]], [[0, 0, 0, 2]])  # class 2 is found, but on an ignored pixel
    # class 0: 4 of 5; class 1: 2 of 3; class 2 occurs nowhere.
    assert miou([first, second], three) == pytest.approx(100 * (4 / 5 + 2 / 3) / 2)


def test_a_class_that_is_only_found_counts_as_zero():
    three = Convention(classes=3, ignored=255)
    assert miou([([[0, 0]], [[0, 2]])], three) == pytest.approx(100 * (1 / 2 + 0) / 2)


def test_ade_labels_count_from_one_and_zero_is_ignored():
    assert miou([([[0, 1, 150]], [[77, 0, 149]])], ADE) == 100


def test_controlars_ade_loses_the_150th_class():
    label, found = [[1, 1, 2, 150, 0]], [[0, 149, 1, 149, 3]]
    # By its matrix: rows 1 + found, columns labels with 0 moved to 150; both lose index 150.
    matrix = np.zeros((151, 151), int)
    for true, guess in zip([1, 1, 2, 150, 150], [1, 150, 2, 150, 4], strict=True):
        matrix[guess, true] += 1
    agree = matrix.diagonal()[:-1]
    labeled, guessed = matrix[:-1, :-1].sum(0), matrix[:-1, :-1].sum(1)
    iou = agree[labeled > 0] / (labeled + guessed - agree)[labeled > 0]
    expected = 100 * iou.sum() / ((labeled + guessed) > 0).sum()
    assert miou([(label, found)], ADE_SHIFTED) == pytest.approx(expected) == 100
    assert miou([(label, found)], ADE) == pytest.approx(100 * (1 / 2 + 1 + 1 / 2) / 3)


@pytest.mark.parametrize("convention", [COCO, ADE])
def test_agrees_with_torchmetrics_confusion_matrix(convention):
    rng = np.random.default_rng(0)
    size = (3, 40, 40)
    true = rng.integers(0, convention.classes, size)
    found = np.where(rng.random(size) < 0.6, true, rng.integers(0, convention.classes, size))
    label = true - convention.label_shift
    label[:, :5] = convention.ignored
    true = np.where(label == convention.ignored, -1, true)
    matrix = multiclass_confusion_matrix(
        torch.from_numpy(found), torch.from_numpy(true), convention.classes, ignore_index=-1
    ).double()
    agree = matrix.diagonal()
    iou = agree / (matrix.sum(0) + matrix.sum(1) - agree)
    pairs = list(zip(label, found, strict=True))
    assert miou(pairs, convention) == pytest.approx(100 * float(iou.nanmean()), rel=1e-9)


def test_labels_beyond_the_171_classes_do_not_count():
    assert miou([([[0, 170, 171]], [[0, 170, 3]])], COCO) == 100
    assert miou([([[1, 150, 151]], [[0, 149, 3]])], ADE) == 100


def test_without_any_labeled_pixel_there_is_no_value():
    assert miou([([[255]], [[3]])], COCO) is None
