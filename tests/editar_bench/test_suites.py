"""Suites: which data sets and models belong together, and what `--task` and `--dataset` make of them."""

from __future__ import annotations

import pytest

from editar_bench import suites
from editar_bench.errors import UserError
from editar_bench.registry import MODELS
from editar_bench.types import Task

PAPER = suites.SUITES["paper"]


@pytest.mark.parametrize("suite", suites.SUITES.values(), ids=lambda s: s.name)
def test_suites_name_what_is_registered(suite: suites.Suite) -> None:
    for dataset in (*suite.datasets, *suite.on_request):
        assert dataset in suites.datasets()
    assert set(suite.models) <= set(MODELS.names())
    assert suites.choose_tasks("all", suite.datasets) == tuple(Task)
    for place in suite.places().values():
        assert place.is_absolute() or place.parts


def test_the_paper_suite_has_every_task_on_its_data_sets() -> None:
    assert suites.task_keys(list(Task), PAPER.datasets) == [
        "edit/pie-bench",
        "depth/multigen-depth",
        "edge/multigen-canny",
        "segmentation/coco-stuff",
        "segmentation/ade20k",
    ]


def test_a_data_set_of_a_suite_is_the_suite_with_it_alone() -> None:
    one = suites.choose_suite(None, "ade20k")
    assert (one.name, one.datasets, one.models) == ("paper", ("ade20k",), PAPER.models)
    assert set(one.folders) == {"ade20k"}
    assert suites.choose_suite("paper", "emu-edit").datasets == ("emu-edit",)
    assert suites.choose_suite(None, "scenes") == suites.SUITES["scenes"]
    assert suites.choose_suite(None, "scenes-validation").name == "scenes-validation"
    with pytest.raises(UserError, match="no part of the suite 'scenes'"):
        suites.choose_suite("scenes", "ade20k")


def test_a_task_that_no_data_set_offers_is_refused() -> None:
    assert suites.choose_tasks("depth", PAPER.datasets) == (Task.DEPTH,)
    with pytest.raises(UserError, match="not offered by the data set ade20k; on offer: segm"):
        suites.choose_tasks("depth", ("ade20k",))
