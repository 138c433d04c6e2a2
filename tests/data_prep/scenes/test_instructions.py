from collections import Counter

import pytest

from data_prep.scenes.description import ROWS, scene_hash
from data_prep.scenes.edits import EDIT_TYPES, resolves
from data_prep.scenes.instructions import TEMPLATES
from data_prep.scenes.stream import draw
from tests.data_prep.scenes.reading import readings

DRAWS = [draw(split, "edit", i) for split in ("train", "evaluator") for i in range(2000)]


def test_every_instruction_has_exactly_one_reading_and_it_is_the_truth():
    for sample in DRAWS:
        found = readings(sample.instruction, sample.edit.source)
        assert found == [sample.edit.target], sample.instruction


def test_solver_finds_the_changed_object_on_the_source():
    assert all(resolves(sample.edit) for sample in DRAWS)


def test_an_edit_changes_what_it_says_and_nothing_else():
    for sample in DRAWS:
        edit = sample.edit
        assert scene_hash(edit.source) != scene_hash(edit.target)
        before, after = set(edit.source.objects), set(edit.target.objects)
        gone, new = before - after, after - before
        assert (len(gone), len(new)) == {
            "add": (0, 1),
            "delete": (1, 0),
            "background": (0, 0),
            "style": (0, 0),
        }.get(edit.type, (1, 1))
        if gone:
            assert (gone.pop().row, edit.cell[1]) == (edit.cell[0], edit.cell[1])
        if new:
            assert new == {edit.result}
        assert (edit.source.camera, edit.source.light) == (edit.target.camera, edit.target.light)


def test_targets_keep_one_object_a_cell():
    for sample in DRAWS:
        cells = [(item.row, item.column) for item in sample.edit.target.objects]
        assert len(set(cells)) == len(cells)
        assert 1 <= len(cells) <= 5


@pytest.mark.parametrize("edit_type", EDIT_TYPES)
def test_wording_varies(edit_type):
    texts = [s.instruction for s in DRAWS if s.category == edit_type]
    starts = Counter(" ".join(text.split()[:2]) for text in texts)
    assert len(starts) >= 4 and len(set(texts)) > 20 or edit_type == "style"
    assert all(len(TEMPLATES[s.edit.attribute]) >= 4 for s in DRAWS if s.edit.attribute != "object")


def test_captions_before_and_after_share_their_wording():
    recolored = [s for s in DRAWS if s.category == "color"]
    for sample in recolored:
        before, after = sample.caption.split(), sample.target_caption.split()
        assert len(before) == len(after)
        assert sum(a != b for a, b in zip(before, after, strict=True)) == 1


def test_texts_are_lower_case_and_short():
    for sample in DRAWS:
        for text in (sample.caption, sample.target_caption):
            assert len(text.replace(",", " ,").split()) <= 60
            assert text == text.lower()
        assert len(sample.instruction.split()) <= 24


def test_caption_names_every_object_with_its_cell():
    for sample in DRAWS[:500]:
        names = [
            f"{o.size} {o.color} {o.material} {o.pattern} {o.shape} {ROWS[o.row]}".replace(
                "plain ", ""
            )
            for o in sample.scene.objects
        ]
        assert all(sample.caption.count(name) >= 1 for name in names)
        assert f"{sample.scene.sky} sky" in sample.caption
        assert sample.scene.ground in sample.caption
