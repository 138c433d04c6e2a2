import dataclasses

import numpy as np
import pytest

from data_prep.scenes import build, hashes
from data_prep.scenes.constants import FAR, NEAR
from editar_bench.types import Task
from tasks import _scenes
from tasks.depth import SceneDepth
from tasks.edge import SceneEdge
from tasks.edit import SceneEdit
from tasks.segmentation import SceneSegmentation

SIZE = 32
COUNT = 3
TASKS = (SceneEdit, SceneDepth, SceneEdge, SceneSegmentation)


@pytest.fixture
def small(monkeypatch):
    """Splits of three samples; counts how often one is made."""
    made = []

    def build_few(split, task, folder, size):
        made.append((split, task))
        return build.build_split(split, task, folder, size, count=COUNT)

    monkeypatch.setattr(_scenes, "build_split", build_few)
    return made


@pytest.mark.parametrize("kind", TASKS)
def test_examples_come_with_what_the_metrics_read(kind, small, tmp_path):
    task = kind("validation", tmp_path, SIZE)
    examples = task.load()
    assert len(examples) == len(list(examples)) == len(examples[:]) == COUNT
    one = examples[1]
    assert one.task is task.task
    assert one.id == examples[:][1].id
    assert one.target_caption
    assert one.target.shape == one.condition.shape == (SIZE, SIZE, 3)
    assert {"label", "color", "material", "inverse_depth"} <= set(one.truth)


def test_inverse_depth_by_hand(small, tmp_path):
    one = SceneDepth("validation", tmp_path, SIZE).load()[0]
    depth, unit = one.truth["depth"], one.truth["inverse_depth"]
    expected = np.clip((1 / depth - 1 / FAR) / (1 / NEAR - 1 / FAR), 0, 1)
    np.testing.assert_allclose(unit, expected, rtol=1e-6)
    assert unit.dtype == np.float32
    assert (unit[np.isinf(depth)] == 0).all()


def test_data_is_made_once_and_again_for_another_version(small, tmp_path, monkeypatch):
    for _ in range(2):
        SceneEdge("validation", tmp_path, SIZE).load()
    assert small == [("validation", Task.EDGE)]
    SceneEdge("validation", tmp_path, 64).load()
    assert len(small) == 2
    monkeypatch.setattr(_scenes, "_version", lambda: "other hashes")
    SceneEdge("validation", tmp_path, 64).load()
    assert len(small) == 3


def test_the_fingerprint_follows_the_pictures(small, tmp_path):
    first = SceneDepth("validation", tmp_path / "a", SIZE)
    second = SceneDepth("validation", tmp_path / "b", SIZE)
    other = SceneDepth("validation", tmp_path / "c", 64)
    assert first.fingerprint() == second.fingerprint() != other.fingerprint()


def test_a_machine_that_differs_says_so(small, tmp_path, monkeypatch):
    examples = SceneDepth("test", tmp_path, SIZE).load()
    record = hashes.load() | {"size": SIZE}
    monkeypatch.setattr(hashes, "load", lambda: record)
    stored = {e.id: hashes.picture_hash(e) for e in examples}
    monkeypatch.setitem(record, "sha256", stored)
    assert SceneDepth("test", tmp_path, SIZE).remarks() == ()
    monkeypatch.setitem(record, "sha256", stored | {examples[2].id: "another"})
    (remark,) = SceneDepth("test", tmp_path, SIZE).remarks()
    assert f"1 of {COUNT} test pictures" in remark and examples[2].id in remark
    assert SceneDepth("validation", tmp_path, SIZE).remarks() == ()  # it has no published hashes


def test_the_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv(_scenes.DATA_VARIABLE, str(tmp_path))
    assert SceneEdit().folder == tmp_path / "scenes"
    monkeypatch.delenv(_scenes.DATA_VARIABLE)
    assert SceneEdit().folder.parts == ("data", "scenes")


def test_a_truth_made_into_another_record_keeps_the_rest(small, tmp_path):
    task = SceneEdit("validation", tmp_path, SIZE)
    plain = task._examples.scenes[0]
    rich = task.load()[0]
    for field in dataclasses.fields(plain):
        if field.name != "truth":
            np.testing.assert_equal(getattr(rich, field.name), getattr(plain, field.name))


@pytest.mark.parametrize("kind", TASKS)
def test_validation_is_a_data_set_of_its_own(kind):
    from editar_bench.registry import TASKS as registered

    name = kind.task.value
    tuning = registered.get(f"{name}/scenes-validation")()
    assert (tuning.dataset, tuning.split, tuning.metrics) == (
        "scenes-validation",
        "validation",
        kind.metrics,
    )
    final = registered.get(f"{name}/scenes")()
    assert (final.dataset, final.split) == ("scenes", "test")


def test_seen_and_unseen_are_spread_evenly():
    order = _scenes.spread(250)
    assert sorted(order) == list(range(250))
    assert sum(index >= 175 for index in order[:50]) == 15
    assert _scenes.spread(3) == [0, 1, 2]
