from collections import Counter

import pytest

from data_prep.scenes.build import task_sample
from data_prep.scenes.description import COLORS, MAX_JITTER, SHAPES, scene_hash
from data_prep.scenes.edits import EDIT_TYPES
from data_prep.scenes.sampling import HELD_OUT, contains_unseen
from data_prep.scenes.stream import SEEN_SIZE, SPLIT_SIZE, SPLITS, draw
from editar_bench.types import Task

TEST = {task: [task_sample("test", task, i) for i in range(SPLIT_SIZE)] for task in Task}
SCENES = [s.edit.target if s.edit else s.scene for group in TEST.values() for s in group]


def hashes(samples):
    scenes = [scene for s in samples for scene in (s.scene, s.edit.target if s.edit else s.scene)]
    return {scene_hash(scene) for scene in scenes}


def test_held_out_pairs_cover_every_color_and_shape_and_leave_each_seen():
    assert len(HELD_OUT) == 14
    assert {color for color, _ in HELD_OUT} == set(COLORS)
    assert {shape for _, shape in HELD_OUT} == set(SHAPES)
    assert max(Counter(color for color, _ in HELD_OUT).values()) < len(SHAPES)
    assert max(Counter(shape for _, shape in HELD_OUT).values()) < len(COLORS)


def test_training_never_holds_a_held_out_pair():
    for i in range(3000):
        sample = draw("train", "edit", i)
        assert not contains_unseen(sample.scene) and not contains_unseen(sample.edit.target)
        assert not contains_unseen(draw("train", "scene", i).scene)


def test_evaluators_see_every_held_out_pair():
    scenes = [draw("evaluator", "scene", i).scene for i in range(500)]
    seen = {(item.color, item.shape) for scene in scenes for item in scene.objects}
    assert seen >= HELD_OUT
    # As often as any other pair, 14 of 56, in every part of the stream.
    for part in (scenes[:175], scenes[175:250]):
        items = [(item.color, item.shape) for scene in part for item in scene.objects]
        share = sum(item in HELD_OUT for item in items) / len(items)
        assert share == pytest.approx(0.25, abs=0.07)


@pytest.mark.parametrize("split", ["test", "validation"])
@pytest.mark.parametrize("task", list(Task))
def test_seen_and_unseen_parts(split, task):
    samples = [task_sample(split, task, i) for i in range(SPLIT_SIZE)]
    for i, sample in enumerate(samples):
        after = sample.edit.target if sample.edit else sample.scene
        assert contains_unseen(after) == (i >= SEEN_SIZE)
        assert sample.slices == (("unseen",) if i >= SEEN_SIZE else ("seen",))
        assert i >= SEEN_SIZE or not contains_unseen(sample.scene)


def test_edit_types_are_balanced():
    counts = Counter(sample.category for sample in TEST[Task.EDIT])
    assert set(counts) == set(EDIT_TYPES)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_splits_are_disjoint():
    groups = {f"test-{task}": hashes(samples) for task, samples in TEST.items()}
    for task in Task:
        built = [task_sample("validation", task, i) for i in range(SPLIT_SIZE)]
        groups[f"validation-{task}"] = hashes(built)
    for split in ("train", "evaluator"):
        groups[split] = hashes(
            [draw(split, kind, i) for kind in ("scene", "edit") for i in range(1500)]
        )
    groups["reference"] = hashes([draw("reference", "scene", i) for i in range(1500)])
    assert len(set.union(*groups.values())) == sum(map(len, groups.values()))


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("kind", ["scene", "edit"])
def test_a_draw_depends_on_its_own_address_only(split, kind):
    alone = draw(split, kind, 7)
    draw(split, kind, 6)
    assert draw(split, kind, 7) == alone
    assert draw(split, kind, 7, attempt=1).scene != alone.scene
    assert draw(split, kind, 8).scene != alone.scene


def test_test_split_is_rich():
    objects = [item for scene in SCENES for item in scene.objects]
    assert len({o.shape for o in objects}) >= 6
    assert len({o.color for o in objects}) >= 8
    assert len({o.material for o in objects}) >= 3
    assert len({o.pattern for o in objects}) >= 3
    assert len({o.size for o in objects}) == 3
    assert len({scene.ground for scene in SCENES}) >= 4
    assert len({scene.sky for scene in SCENES}) >= 4
    counts = [len(scene.objects) for scene in SCENES]
    assert (min(counts), max(counts)) == (1, 5)
    assert sum(counts) / len(counts) >= 3
    for view in ("azimuth", "height", "focal"):
        assert len({getattr(scene.camera, view) for scene in SCENES}) > 100
    assert len({scene.light for scene in SCENES}) > 500


def test_objects_stand_alone_in_their_cells():
    for scene in SCENES:
        cells = {(item.row, item.column) for item in scene.objects}
        assert len(cells) == len(scene.objects)
        assert all(abs(v) <= MAX_JITTER for item in scene.objects for v in item.jitter)
