"""Which pictures of a prompt a protocol reads."""

import numpy as np
import pytest

from editar_bench.metrics import canny_published as canny
from editar_bench.metrics import depth_published as depth
from editar_bench.metrics import inception_distance as inception
from editar_bench.metrics import seg_networks as seg
from editar_bench.metrics import soft_edges_published as soft
from editar_bench.metrics._groups import by_prompt, first_pictures, tag, whole_prompts


def rows(*tags: float) -> np.ndarray:
    return np.array([[t, 10 * t + i] for i, t in enumerate(tags)], dtype=float)


def test_first_pictures_are_one_a_sample_in_the_order_given():
    assert first_pictures(rows(7, 3, 7, 7, 3, 5)).tolist() == [
        True,
        True,
        False,
        False,
        False,
        True,
    ]


def test_whole_prompts_have_four_pictures_and_no_more():
    found = whole_prompts(rows(1, 2, 1, 2, 1, 2, 1, 1, 3, 3, 3, 3))
    # The fifth picture of prompt 1 and the three of prompt 2 are left out.
    assert found.tolist() == [c == "x" for c in "x.x.x.x.xxxx"]
    groups = by_prompt(rows(1, 2, 1, 2, 1, 2, 1, 1, 3, 3, 3, 3)[found])
    assert groups is not None and groups.shape == (2, 4, 1)
    assert groups[..., 0].tolist() == [[10, 12, 14, 16], [38, 39, 40, 41]]
    mixed = by_prompt(rows(2, 1, 2, 1, 1, 2, 1, 2))
    assert mixed is not None and mixed[..., 0].tolist() == [[11, 13, 14, 16], [20, 22, 25, 27]]


def test_prompts_of_another_number_of_pictures_are_no_groups_of_four():
    assert by_prompt(rows(1, 1, 1, 1, 2, 2, 3, 3)) is None
    assert by_prompt(np.empty((0, 2))) is None


def test_tags_tell_all_samples_apart_and_are_what_they_were():
    """Stored observations hold them. The first 12 digits of `printf a | sha256sum`."""
    assert tag("a") == 0xCA978112CA1B
    assert len({tag(f"{i:05d}") for i in range(5000)}) == 5000


def test_a_prompt_with_an_undefined_picture_is_left_out():
    table = rows(1, 1, 1, 1, 2, 2, 2, 2)
    table[5, 1] = np.nan
    assert whole_prompts(table).tolist() == [True] * 4 + [False] * 4
    assert not whole_prompts(np.full((4, 2), np.nan)).any()


@pytest.mark.parametrize(
    "metric",
    [
        depth.DepthRmseMax,
        canny.CannyF1Pooled,
        inception.FidMean4,
        seg.SegAde,
        soft.HedMsSsim,
        soft.LineartMsSsim,
    ],
)
def test_protocols_of_four_pictures_count_whole_prompts(metric):
    assert metric().counted(rows(1, 1, 1, 1, 2)).tolist() == [True] * 4 + [False]


@pytest.mark.parametrize("metric", [inception.Fid, inception.Kid])
def test_distances_of_one_picture_a_prompt_are_not_changed_by_more(metric):
    random = np.random.default_rng(0)
    truths, found = random.normal(size=(60, 8)), random.normal(size=(4, 60, 8))
    table = np.array([[i, *found[k, i], *truths[i]] for i in range(60) for k in range(4)])
    alone = np.array([[i, *found[0, i], *truths[i]] for i in range(60)])
    assert metric().reduce(table[metric().counted(table)]) == metric().reduce(alone)
