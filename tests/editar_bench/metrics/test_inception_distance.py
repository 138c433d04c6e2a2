"""FID and KID beside clean-fid, with a small random network in clean-fid's TorchScript form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cleanfid import fid as cleanfid
from PIL import Image
from scipy import linalg

from editar_bench.evaluators.released import Released
from editar_bench.metrics import inception_distance as i
from editar_bench.metrics._frechet import frechet_distance, influences
from editar_bench.statistics import influence_interval
from tests.editar_bench.metrics.making import example, gray, noise


class Base(torch.nn.Module):
    """What StyleGAN's file offers clean-fid: `layers`, from (B, 3, 299, 299) in about [-1, 1] to 2048 features."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.AvgPool2d(23), torch.nn.Flatten(), torch.nn.Linear(507, 2048), torch.nn.Tanh()
        )

    def forward(self, x):
        return self.layers(x)


# The published file is TorchScript, which torch would rather see gone; clean-fid's square root is old SciPy's.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.torch.jit:FutureWarning", "ignore:The .disp. argument:DeprecationWarning"
)


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inception")
    torch.manual_seed(0)
    torch.jit.script(Base()).save(str(folder / "inception-2015-12-05.pt"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDITAR_BENCH_WEIGHTS", str(folder))
        loaded = Released()
        loaded.setup("cpu", "inception")
    return loaded


def pictures(seed, count=12, size=40):
    return [
        np.asarray(Image.fromarray(noise(seed + k, 6)).resize((size, size))) for k in range(count)
    ]


def save(folder, images):
    folder.mkdir()
    for k, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{k:02d}.png")
    return str(folder)


def observed(metric, truths, results):
    samples = [example(id=str(k), target=t, edit_mask=None) for k, t in enumerate(truths)]
    return np.stack(metric.observe(samples, results))


def reference_features(folder, networks):
    return cleanfid.get_folder_features(
        folder,
        model=networks["inception"].network,
        num_workers=0,
        device=torch.device("cpu"),
        mode="clean",
        verbose=False,
    )


def test_fid_and_kid_agree_with_clean_fid(tmp_path, networks):
    truths, results = pictures(0), pictures(100)
    true = reference_features(save(tmp_path / "true", truths), networks)
    found = reference_features(save(tmp_path / "found", results), networks)
    rows = observed(i.Fid(networks), truths, results)
    assert rows[:, 1:2049] == pytest.approx(found, rel=1e-5, abs=1e-6)
    assert rows[:, 2049:] == pytest.approx(true, rel=1e-5, abs=1e-6)
    moments = [(x.mean(0), np.cov(x, rowvar=False)) for x in (true[:, :64], found[:, :64])]
    expected = cleanfid.frechet_distance(*moments[0], *moments[1])
    ours = frechet_distance(true[:, :64], found[:, :64])
    assert ours == pytest.approx(expected, rel=1e-5)
    np.random.seed(0)
    expected = 1e3 * cleanfid.kernel_distance(true, found)
    assert i.Kid(networks).reduce(rows) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("n", "m", "d"), [(200, 150, 16), (12, 9, 16), (40, 10, 16)])
def test_frechet_distance_by_the_definition(n, m, d):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)), 1 + rng.normal(size=(m, d))
    c1, c2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    # tr (C1 C2)^½ is the sum of the square roots of the eigenvalues of C1 C2.
    root = np.sqrt(linalg.eigvals(c1 @ c2).real.clip(min=0)).sum()
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(c1) + np.trace(c2) - 2 * root
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_of_features_that_never_vary_and_of_equal_sets():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(60, 8)), rng.normal(size=(50, 8))
    dead = [np.concatenate([x, np.ones((len(x), 3))], 1) for x in (a, b)]
    assert frechet_distance(*dead) == pytest.approx(frechet_distance(a, b), rel=1e-6)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)


def test_frechet_distance_by_hand():
    a = np.array([[0.0], [2.0]])  # mean 1, variance 2
    b = np.array([[3.0], [3.0], [6.0]])  # mean 4, variance 3
    assert frechet_distance(a, b) == pytest.approx(9 + 2 + 3 - 2 * np.sqrt(6))


@pytest.mark.parametrize(("n", "d"), [(60, 5), (12, 5), (5, 9)])
def test_influences_are_the_derivatives_of_the_frechet_distance(n, d):
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)), 0.5 + rng.normal(size=(n, d))

    def distance(weights):
        means = [weights @ x for x in (a, b)]
        rows = [
            np.sqrt(weights * n / (n - 1))[:, None] * (x - m)
            for x, m in zip((a, b), means, strict=True)
        ]
        product = linalg.svdvals(rows[0] @ rows[1].T).sum()
        shift = ((means[0] - means[1]) ** 2).sum()
        return shift + sum((r**2).sum() for r in rows) - 2 * product

    even = np.full(n, 1 / n)
    assert distance(even) == pytest.approx(frechet_distance(a, b), rel=1e-6)
    slopes = []
    for place in range(n):
        step = 1e-6 * (np.eye(n)[place] - even)
        slopes.append((distance(even + step) - distance(even - step)) / 2e-6)
    found = sum(influences(a, b))
    assert found == pytest.approx(np.array(slopes), rel=1e-4, abs=1e-4 * np.abs(slopes).max())


@pytest.mark.parametrize("kind", [i.Fid, i.Kid])
def test_the_interval_holds_the_value_and_is_as_wide_as_the_value_varies(kind):
    metric = kind()
    mix = np.random.default_rng(0).normal(size=(12, 12)) / 3

    def drawn(seed):
        rng = np.random.default_rng(seed)
        true = rng.normal(size=(150, 12)) @ mix
        found = 0.8 * true + 0.5 * rng.normal(size=(150, 12)) @ mix + 0.3
        return np.concatenate([np.arange(150)[:, None], found, true], 1)

    values = [metric.reduce(drawn(seed)) for seed in range(60)]
    for seed in range(3):
        rows = drawn(seed)
        estimate = influence_interval(metric.reduce(rows), metric.influence(rows))
        assert estimate.low < values[seed] < estimate.high
        width = estimate.high - estimate.low
        assert width == pytest.approx(3.92 * np.std(values), rel=0.35)


def test_influences_of_four_pictures_a_prompt_are_those_of_their_groups(networks):
    truths = pictures(0, 5)
    groups = [observed(i.Fid(networks), truths, pictures(100 * g, 5)) for g in range(1, 5)]
    rows = np.stack(groups, 1).reshape(20, -1)
    shuffled = np.random.default_rng(0).permutation(20)
    shuffled = shuffled[np.argsort(shuffled % 4, kind="stable")]  # repeats stay in their order
    found = i.FidMean4(networks).influence(rows[shuffled])
    for place, row in enumerate(shuffled):
        single = i.Fid(networks).influence(groups[row % 4])
        assert found[place] == pytest.approx(single[row // 4], rel=1e-6, abs=1e-9)


def test_mean_of_four_takes_one_picture_of_each_prompt(networks):
    truths = pictures(0, 4)
    metric = i.FidMean4(networks)
    groups = [observed(metric, truths, pictures(100 * g, 4)) for g in range(1, 5)]
    rows = np.stack(groups, 1).reshape(
        16, -1
    )  # four pictures of the first prompt, then of the second …
    single = [i.Fid(networks).reduce(g) for g in groups]
    assert metric.reduce(rows) == pytest.approx(np.mean(single), rel=1e-9)
    assert i.Fid(networks).reduce(rows) != pytest.approx(np.mean(single), rel=1e-2)
    assert metric.reduce(groups[0]) is None


def test_one_picture_has_no_distance(networks):
    rows = observed(i.Fid(networks), pictures(0, 1), pictures(1, 1))
    assert i.Fid(networks).reduce(rows) is None
    assert i.Kid(networks).reduce(rows) is None
    # One prompt of four pictures is one picture in each of the four groups.
    assert i.FidMean4(networks).reduce(np.concatenate([rows] * 4)) is None


def test_kid_hands_the_true_pictures_first_and_leaves_the_global_generator_alone(monkeypatch):
    told = []

    def spy(*sets):
        told.extend([*sets, np.random.random()])
        return 0.5

    monkeypatch.setattr("cleanfid.fid.kernel_distance", spy)
    before = np.random.get_state()[1].tolist()
    rows = np.arange(15.0).reshape(3, 5)
    assert i.Kid().reduce(rows) == 500
    assert np.array_equal(told[0], rows[:, 3:]) and np.array_equal(told[1], rows[:, 1:3])
    assert told[2] == np.random.RandomState(0).random()  # the draws of seed 0, for every model
    assert np.random.get_state()[1].tolist() == before


@pytest.mark.parametrize("kind", [i.Fid, i.Kid])
def test_a_sample_without_a_true_picture_leaves_the_others_their_values(networks, kind):
    metric, truths, results = kind(networks), pictures(0, 4), pictures(100, 4)
    rows = observed(metric, [*truths[:2], None, *truths[2:]], [*results[:2], gray(7), *results[2:]])
    chosen = metric.counted(rows)
    assert chosen.tolist() == [True, True, False, True, True]
    assert metric.reduce(rows[chosen]) == pytest.approx(
        metric.reduce(observed(metric, truths, results)), rel=1e-6
    )
