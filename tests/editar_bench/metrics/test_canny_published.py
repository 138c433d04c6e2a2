"""Published edge scores beside torchmetrics, kornia and, where it is installed, OpenCV."""

from __future__ import annotations

import hashlib
import inspect

import numpy as np
import pytest
import torch
from kornia.filters import canny
from PIL import Image
from torchmetrics.functional.classification import binary_f1_score
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    peak_signal_noise_ratio,
)
from torchmetrics.functional.image.ssim import _ssim_update

from editar_bench.metrics import canny_published as c
from editar_bench.metrics._canny_opencv import canny_opencv
from editar_bench.metrics._ssim import BETAS, MIN_SIZE, SIGMA, TAPS, ms_ssim
from editar_bench.types import Task
from tests.editar_bench.metrics.making import example, gray, judges, noise

SIZE = MIN_SIZE


def blobs(seed, cells=30, size=SIZE):
    """Soft colored blobs: edges of every direction."""
    small = np.random.default_rng(seed).integers(0, 256, (cells, cells, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC))


def sample(seed=1, name="e0"):
    return example(Task.EDGE, id=name, target=blobs(seed), edit_mask=None)


def moved(seed=1):
    """The true picture, half of it another one."""
    half = np.arange(SIZE)[None, :, None] < SIZE // 2
    return np.where(half, blobs(seed), blobs(seed + 50))


def kornia_edges(picture):
    """The published call, hysteresis and all."""
    x = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255
    return canny(x, 0.1, 0.2)[1][0, 0]


def opencv_edges(picture):
    return torch.from_numpy(canny_opencv(picture)).float()


def reference_ms_ssim(a, b):
    """torchmetrics' parts, the border left out of both as before 1.5."""
    a, b = a[None, None], b[None, None]
    parts = []
    settings = {"gaussian_kernel": True, "sigma": 1.5, "kernel_size": 11, "data_range": 1.0}
    for _ in BETAS:
        _, full = _ssim_update(a, b, return_full_image=True, **settings)
        similarity = full[..., 5:-5, 5:-5].mean()
        _, contrast = _ssim_update(a, b, return_contrast_sensitivity=True, **settings)
        parts.append(contrast.mean())
        a, b = (torch.nn.functional.avg_pool2d(x, 2) for x in (a, b))
    parts[-1] = similarity
    return float(torch.prod(torch.stack(parts).relu() ** torch.tensor(BETAS)))


def reference_f1(a, b):
    return 100 * binary_f1_score(a.flatten(), b.flatten().long())


CASES = [
    (c.CannyF1, kornia_edges, reference_f1),
    (c.CannyF1OpenCv, opencv_edges, reference_f1),
    (c.CannyMsSsim, kornia_edges, reference_ms_ssim),
    (c.CannyMsSsimOpenCv, opencv_edges, reference_ms_ssim),
    (c.CannyPsnr, kornia_edges, lambda a, b: peak_signal_noise_ratio(a, b, data_range=1.0)),
]


@pytest.mark.parametrize(("kind", "edges", "reference"), CASES)
def test_agrees_with_the_reference(kind, edges, reference):
    (score,) = kind(judges()).score([sample()], [moved()])
    expected = float(reference(edges(moved()), edges(sample().target)))
    assert expected > 0.05
    assert score.value == pytest.approx(expected, rel=1e-5)


def test_flat_colors_score_as_in_float32():
    # Along straight sides between flat colors rounding decides which of two pixels is the edge.
    cell = np.ones((SIZE // 4, SIZE // 4, 1), np.uint8)
    colors = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
    flat = [np.kron(few, cell) for few in colors]
    photo = example(Task.EDGE, condition=gray(0, len(flat[0])), target=flat[0], edit_mask=None)
    (score,) = c.CannyF1(judges()).score([photo], [flat[1]])
    expected = float(reference_f1(kornia_edges(flat[1]), kornia_edges(flat[0])))
    assert score.value == pytest.approx(expected, rel=1e-5) and expected > 1


def test_without_a_photograph_there_is_no_value():
    without, with_value = c.CannyF1(judges()).score(
        [example(Task.EDGE, target=None), sample()], [moved(), moved()]
    )
    assert without.value is None and without.reason and with_value.value


def test_scales_and_the_smallest_picture_are_those_of_torchmetrics():
    whole = inspect.signature(multiscale_structural_similarity_index_measure).parameters
    assert whole["betas"].default == BETAS
    assert (whole["kernel_size"].default, whole["sigma"].default) == (TAPS, SIGMA)
    multiscale_structural_similarity_index_measure(*torch.rand(2, 1, 1, MIN_SIZE, MIN_SIZE))
    with pytest.raises(ValueError, match="must be larger than 160"):
        multiscale_structural_similarity_index_measure(*torch.rand(2, 1, 1, 500, MIN_SIZE - 1))


def test_an_inverted_picture_has_no_similarity():
    """Its contrast is negative, and negative parts count as 0."""
    picture = torch.from_numpy(blobs(1).copy()).float()[None, None, ..., 0] / 255
    assert float(ms_ssim(picture, 1 - picture)) == 0


@pytest.mark.parametrize("side", [10, 128, SIZE - 1])
def test_pictures_too_small_for_five_scales_have_no_value(side):
    """torchmetrics refuses them as well."""
    small = example(Task.EDGE, condition=gray(0, side), target=noise(1, side), edit_mask=None)
    scores = c.CannyMsSsim(judges()).score([small, sample()], [noise(2, side), moved()])
    assert scores[0].value is None and f"{side}×{side} pixels is too small" in scores[0].reason
    assert scores[1].value


def test_equal_edges_get_the_best_values():
    for kind, best in ((c.CannyF1, 100), (c.CannyMsSsim, 1), (c.CannyPsnr, 100)):
        (score,) = kind(judges()).score([sample()], [sample().target])
        assert score.value == pytest.approx(best)


def test_pictures_without_edges_score_zero_as_in_torchmetrics():
    plain = example(Task.EDGE, target=gray(7, SIZE), edit_mask=None)
    (score,) = c.CannyF1(judges()).score([plain], [gray(9, SIZE)])
    nothing = torch.zeros(9)
    assert score.value == float(binary_f1_score(nothing, nothing.long())) == 0


def test_the_pooled_form_pools_four_pictures_of_a_prompt():
    metric = c.CannyF1Pooled(judges())
    names = ("a", "b")
    results = {n: [blobs(s), moved(s), blobs(s + 7), blobs(s + 8)] for s, n in ((1, "a"), (2, "b"))}
    samples = {n: sample(s, n) for s, n in ((1, "a"), (2, "b"))}
    rows = [metric.observe([samples[n]] * 4, results[n]) for n in names]
    expected = []
    for n in names:
        found = torch.stack([kornia_edges(r) for r in results[n]]).flatten()
        true = kornia_edges(samples[n].target).repeat(4, 1, 1).flatten()
        expected.append(100 * float(binary_f1_score(found, true.long())))
    assert metric.reduce(np.concatenate(rows)) == pytest.approx(np.mean(expected), rel=1e-5)
    assert metric.reduce(np.concatenate([rows[0], rows[0], rows[1]])) == pytest.approx(
        (2 * expected[0] + expected[1]) / 3, rel=1e-5
    )  # a bootstrap draw
    assert metric.reduce(np.stack(rows[0][:3])) is None


def test_the_pooled_form_goes_on_without_a_photograph():
    metric = c.CannyF1Pooled(judges())
    without = example(Task.EDGE, id="b", target=None)
    rows = np.stack(metric.observe([without, *[sample(1, "a")] * 4], [moved()] * 5))
    assert metric.counted(rows).tolist() == [False] + [True] * 4
    assert metric.reduce(rows[1:]) == metric.reduce(
        np.stack(metric.observe([sample(1, "a")] * 4, [moved()] * 4))
    )


def test_the_clean_form_forgives_a_pixel():
    shifted = np.roll(sample().target, 1, axis=1)
    (clean,) = c.CleanCannyF1(judges()).score([sample()], [shifted])
    (exact,) = c.CannyF1(judges()).score([sample()], [shifted])
    assert clean.value > 90 > exact.value + 20


def test_the_clean_form_of_maps_without_edges_is_zero():
    plain = example(Task.EDGE, target=gray(7, SIZE), edit_mask=None)
    empty, lacking = c.CleanCannyF1(judges()).score(
        [plain, sample()], [sample().target, gray(7, SIZE)]
    )
    assert (empty.value, lacking.value) == (0, 0)


# sha256 of the packed edges that OpenCV 5.0.0's Canny(…, 100, 200) finds in blobs(seed, cells).
OPENCV = {
    (2, 30): "31329737c12202b833a4dde46466d006b4475933726bf277e4a89a86209046fd",
    (3, 88): "f0515ee434c794257348a9e10e698e81d6d986f7421f3d6ccb5f9d33fe2d2a8f",
    (4, 176): "2f7509de3a3256a292b06b494c86d5aa9d99fed190f805124205c69f64958e72",
}


@pytest.mark.parametrize("seed_and_cells", OPENCV)
def test_opencvs_canny_bit_by_bit(seed_and_cells):
    edges = canny_opencv(blobs(*seed_and_cells))
    assert hashlib.sha256(np.packbits(edges).tobytes()).hexdigest() == OPENCV[seed_and_cells]


@pytest.mark.parametrize("seed", range(4))
def test_opencvs_canny_where_it_is_installed(seed):
    cv2 = pytest.importorskip("cv2")
    picture = np.ascontiguousarray(blobs(seed, 20 + 30 * seed))
    assert np.array_equal(canny_opencv(picture), cv2.Canny(picture, 100, 200) > 0)
