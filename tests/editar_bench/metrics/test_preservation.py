import numpy as np
import pytest
import torch
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from editar_bench.metrics import preservation as p
from editar_bench.metrics._distances import perceptual, structure
from tests.editar_bench.metrics.making import example, gray, judges, left_half, noise

ALL = (p.StructureDistance, p.PerceptualUnedited, p.PsnrUnedited, p.MseUnedited, p.SsimUnedited)


def _unit(picture):
    keep = ~left_half()
    return torch.from_numpy(picture * keep[..., None]).permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize(
    ("metric", "reference"),
    [
        (p.PsnrUnedited, lambda a, b: peak_signal_noise_ratio(a, b, data_range=1.0)),
        (
            p.SsimUnedited,
            lambda a, b: 100 * structural_similarity_index_measure(a, b, data_range=1.0),
        ),
        (p.MseUnedited, lambda a, b: 1e4 * torch.nn.functional.mse_loss(a, b)),
    ],
)
def test_agrees_with_torchmetrics_on_blackened_pictures(metric, reference):
    one = example()
    (score,) = metric(judges()).score([one], [noise(3)])
    expected = float(reference(_unit(noise(3)), _unit(one.condition)))
    assert score.value == pytest.approx(expected, rel=1e-4)


def test_blackened_pixels_count_in_the_mean():
    one = example(condition=gray(0))
    (score,) = p.MseUnedited(judges()).score([one], [gray(51)])
    assert score.value == pytest.approx(1e4 * 0.2**2 / 2)  # an error of 0.2 on half of the frame


def test_an_equal_background_is_capped():
    one = example()
    result = np.where(left_half()[..., None], gray(9), one.condition)
    (score,) = p.PsnrUnedited(judges()).score([one], [result])
    assert score.value == 50.0
    (score,) = p.PerceptualUnedited(judges()).score([one], [result])
    assert score.value == 0.0


@pytest.mark.parametrize("metric", ALL[1:])
@pytest.mark.parametrize("mask", [None, np.ones((32, 32), bool)])
def test_without_a_background_there_is_no_value(metric, mask):
    (score,) = metric(judges()).score([example(edit_mask=mask)], [noise(3)])
    assert score.value is None
    assert "outside" in score.reason


def test_structure_needs_no_mask_and_is_zero_for_the_source():
    one = example(edit_mask=None)
    same, other = p.StructureDistance(judges()).score([one, one], [one.condition, noise(3)])
    assert same.value == 0.0
    assert other.value > 0


def test_structure_by_hand():
    one = np.zeros((2, 1, 2))
    one[0] = 1  # both tokens equal: all cosines are 1
    two = np.zeros((2, 1, 2))
    two[0, 0, 0] = two[1, 0, 1] = 3  # tokens at a right angle: cosines 1, 0, 0, 1
    assert structure(one, two) == pytest.approx(0.5)
    assert structure(5 * one, one) == pytest.approx(0.0)  # lengths do not count


def test_perceptual_by_hand():
    one, two = np.zeros((2, 2, 2)), np.zeros((2, 2, 2))
    one[0] = 4
    two[0] = 1
    two[:, 0, 0] = 0, 7  # at a right angle at one of four positions: distance 2 there
    assert perceptual([one], [two]) == pytest.approx(0.5)
    where = np.zeros((4, 4), bool)
    where[:2, :3] = True  # all of the first position, half of its neighbor
    assert perceptual([one], [two], where) == pytest.approx(2 / 1.5)
    assert perceptual([one, one], [two, one]) == pytest.approx(0.25)


@pytest.mark.parametrize("metric", ALL)
def test_a_score_does_not_depend_on_its_batch(metric):
    examples = [example(id=str(i), condition=noise(10 + i)) for i in range(3)]
    images = [noise(20 + i) for i in range(3)]
    fresh = judges().store
    fresh.clear()
    together = metric(judges()).score(examples, images)
    fresh.clear()
    alone = [metric(judges()).score([e], [i])[0] for e, i in zip(examples, images, strict=True)]
    assert [s.value for s in together] == pytest.approx([s.value for s in alone], rel=1e-4)
