"""The nine edits of PIE-Bench on scene descriptions, each worded so that it has one solution."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from data_prep.scenes.description import (
    GROUNDS,
    MATERIALS,
    MAX_OBJECTS,
    MIN_OBJECTS,
    PATTERNS,
    ROTATION_STEPS,
    SHAPES,
    SKIES,
    STYLES,
    Scene,
    SceneObject,
)
from data_prep.scenes.instructions import TEMPLATES, turn_phrase
from data_prep.scenes.language import (
    STYLE_NOUNS,
    choose_reference,
    object_phrase,
    phrase,
    place_phrase,
)
from data_prep.scenes.sampling import (
    COLOR_NAMES,
    SIZE_NAMES,
    is_unseen,
    pairs_allowed,
    sample_attributes,
)
from data_prep.scenes.solver import (
    RELATIONS,
    Cell,
    Place,
    Reference,
    empty_cells,
    find,
    locate,
)

EDIT_TYPES = (
    "change_object",
    "add",
    "delete",
    "content",
    "pose",
    "color",
    "material",
    "background",
    "style",
)
WITHOUT_OUTSIDE = frozenset({"background", "style"})  # the whole picture may change
# Turns that leave a plain solid as it was, in steps of 30 degrees; round solids are never turned.
_SYMMETRY = {"cube": 3, "pyramid": 3, "prism": 6}


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One edit: its words, the descriptions before and after, and what the words mean.

    `attribute` says what changes: "object" (add, delete), "shape", "pattern", "size", "rotation",
    "cell", "color", "material", "ground", "sky" or "style". `value` is the new word ("" for delete;
    signed steps of 30 degrees for a rotation, counter-clockwise positive; for add the shape; for a
    move the cell as "row column" indices). `cell` is where the referent stands in the source,
    `destination` where an added or moved object stands in the target, `result` the object after.
    """

    type: str
    instruction: str
    source: Scene
    target: Scene
    attribute: str
    value: str
    reference: Reference | None = None
    place: Place | None = None
    cell: Cell | None = None
    destination: Cell | None = None
    result: SceneObject | None = None


def sample_edit(
    rng: random.Random, scene: Scene, edit_type: str, *, allow_unseen: bool = False
) -> Edit | None:
    """Draw an edit of a scene; None when the draw is impossible: the caller draws another scene."""
    edit = _MAKERS[edit_type](rng, scene, allow_unseen)
    if edit is None or edit.result is None or allow_unseen or not is_unseen(edit.result):
        return edit
    return None


def _other(rng: random.Random, values: Sequence[str], current: str) -> str:
    return rng.choice([value for value in values if value != current])


def _swap(scene: Scene, old: SceneObject, new: SceneObject) -> Scene:
    return replace(scene, objects=tuple(new if o is old else o for o in scene.objects))


def _attribute_edit(
    rng: random.Random, scene: Scene, edit_type: str, attribute: str, values: Sequence[str]
) -> Edit:
    """Give one named object another value of one attribute and keep everything else."""
    item = rng.choice(scene.objects)
    reference = choose_reference(rng, scene, item)
    value = _other(rng, values, getattr(item, attribute))
    changes: dict[str, Any] = {attribute: value}
    result = replace(item, **changes)
    template = rng.choice(TEMPLATES[attribute])
    return Edit(
        type=edit_type,
        instruction=template.format(ref=phrase(reference, rng), value=value),
        source=scene,
        target=_swap(scene, item, result),
        attribute=attribute,
        value=value,
        reference=reference,
        cell=(item.row, item.column),
        result=result,
    )


def _change_object(rng: random.Random, scene: Scene, allow_unseen: bool) -> Edit | None:
    return _attribute_edit(rng, scene, "change_object", "shape", SHAPES)


def _color(rng: random.Random, scene: Scene, allow_unseen: bool) -> Edit | None:
    return _attribute_edit(rng, scene, "color", "color", COLOR_NAMES)


def _material(rng: random.Random, scene: Scene, allow_unseen: bool) -> Edit | None:
    return _attribute_edit(rng, scene, "material", "material", MATERIALS)


def _content(rng: random.Random, scene: Scene, allow_unseen: bool) -> Edit | None:
    if rng.random() < 0.6:
        return _attribute_edit(rng, scene, "content", "pattern", PATTERNS)
    return _attribute_edit(rng, scene, "content", "size", SIZE_NAMES)


def _choose_place(
    rng: random.Random, scene: Scene, moved: SceneObject | None
) -> tuple[Place, Cell] | None:
    """A named empty cell, or the empty cell next to a named object other than the moved one."""
    anchors = [item for item in scene.objects if item is not moved]
    if anchors and rng.random() < 0.5:
        anchor = choose_reference(rng, scene, rng.choice(anchors))
        place = Place(relation=rng.choice(tuple(RELATIONS)), anchor=anchor)
    else:
        place = Place(cell=rng.choice(empty_cells(scene)))
    cell = locate(scene, place)
    return None if cell is None else (place, cell)


def _add(rng: random.Random, scene: Scene, allow_unseen: bool) -> Edit | None:
    if len(scene.objects) >= MAX_OBJECTS:
        return None
    chosen = _choose_place(rng, scene, None)
    if chosen is None:
        return None
    place, cell = chosen
    new = sample_attributes(rng, pairs_allowed(allow_unseen), *cell)
    template = rng.choice(TEMPLATES["add"])
    return Edit(
        type="add",
        instruction=template.format(new=object_phrase(new), place=place_phrase(place)),
        source=scene,
        target=replace(scene, objects=(*scene.objects, new)),
        attribute="object",
        value=new.shape,
        place=place,
        destination=cell,
        result=new,
    )


def _delete(rng: random.Random, scene: Scene, allow_unseen: bool) -> Edit | None:
    if len(scene.objects) <= MIN_OBJECTS:
        return None
    item = rng.choice(scene.objects)
    reference = choose_reference(rng, scene, item)
    return Edit(
        type="delete",
        instruction=rng.choice(TEMPLATES["delete"]).format(ref=phrase(reference, rng)),
        source=scene,
        target=replace(scene, objects=tuple(o for o in scene.objects if o is not item)),
        attribute="object",
        value="",
        reference=reference,
        cell=(item.row, item.column),
    )


def _pose(rng: random.Random, scene: Scene, allow_unseen: bool) -> Edit | None:
    item = rng.choice(scene.objects)
    if item.shape in _SYMMETRY and rng.random() < 0.6:
        return _rotate(rng, scene, item)
    return _move(rng, scene, item)


def _rotate(rng: random.Random, scene: Scene, item: SceneObject) -> Edit:
    reference = choose_reference(rng, scene, item)
    steps = rng.choice([n for n in range(1, 6) if n % _SYMMETRY[item.shape]])
    steps = steps if rng.random() < 0.5 else -steps
    result = replace(item, rotation=(item.rotation + steps) % ROTATION_STEPS)
    template = rng.choice(TEMPLATES["rotation"])
    return Edit(
        type="pose",
        instruction=template.format(ref=phrase(reference), turn=turn_phrase(steps)),
        source=scene,
        target=_swap(scene, item, result),
        attribute="rotation",
        value=str(steps),
        reference=reference,
        cell=(item.row, item.column),
        result=result,
    )


def _move(rng: random.Random, scene: Scene, item: SceneObject) -> Edit | None:
    chosen = _choose_place(rng, scene, item)
    if chosen is None:
        return None
    place, cell = chosen
    reference = choose_reference(rng, scene, item)
    result = replace(item, row=cell[0], column=cell[1], jitter=(0.0, 0.0))
    template = rng.choice(TEMPLATES["cell"])
    return Edit(
        type="pose",
        instruction=template.format(ref=phrase(reference), place=place_phrase(place)),
        source=scene,
        target=_swap(scene, item, result),
        attribute="cell",
        value=f"{cell[0]} {cell[1]}",
        reference=reference,
        place=place,
        cell=(item.row, item.column),
        destination=cell,
        result=result,
    )


def _scene_edit(
    rng: random.Random, scene: Scene, edit_type: str, attribute: str, values: Sequence[str]
) -> Edit:
    """Change the ground, the sky or the style of the whole picture."""
    old = getattr(scene, attribute)
    value = _other(rng, values, old)
    changes: dict[str, Any] = {attribute: value}
    word = STYLE_NOUNS[value] if attribute == "style" else value
    return Edit(
        type=edit_type,
        instruction=rng.choice(TEMPLATES[attribute]).format(value=word, old=old),
        source=scene,
        target=replace(scene, **changes),
        attribute=attribute,
        value=value,
    )


def _background(rng: random.Random, scene: Scene, allow_unseen: bool) -> Edit | None:
    if rng.random() < 0.5:
        return _scene_edit(rng, scene, "background", "ground", GROUNDS)
    return _scene_edit(rng, scene, "background", "sky", SKIES)


def _style(rng: random.Random, scene: Scene, allow_unseen: bool) -> Edit | None:
    return _scene_edit(rng, scene, "style", "style", STYLES)


_MAKERS: dict[str, Callable[[random.Random, Scene, bool], Edit | None]] = {
    "change_object": _change_object,
    "add": _add,
    "delete": _delete,
    "content": _content,
    "pose": _pose,
    "color": _color,
    "material": _material,
    "background": _background,
    "style": _style,
}


def resolves(edit: Edit) -> bool:
    """True when the solver, from the source and the words' meaning, finds what the edit changes."""
    if edit.reference is not None:
        item = find(edit.source, edit.reference)
        if item is None or (item.row, item.column) != edit.cell:
            return False
    return edit.place is None or locate(edit.source, edit.place) == edit.destination
