from __future__ import annotations

import logging

import pytest
import torch

from models.training.paper.opening import Shape
from models.training.paper.teacher import Crop
from tests.models.making import SIZE, SLOTS
from tests.models.training.paper.making import CROP, EDGE, write_all


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    import datasets

    monkeypatch.setattr(logging.getLogger("datasets.iterable_dataset"), "disabled", True)
    datasets.disable_progress_bars()
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """Networks and the five sources."""
    folder = tmp_path_factory.mktemp("paper")
    write_all(folder)
    return folder


@pytest.fixture
def shape():
    """Of samples for the tiny networks."""
    return Shape(side=SIZE, crop=Crop(edge=EDGE, size=CROP), slots=SLOTS, made_by={"codec": "a"})
