"""Wording: referring expressions, places, captions. All lower-case, without a final stop, terse.

Text length is sequence length for every generator: a caption of five objects stays under 60 words
and commas.
"""

from __future__ import annotations

import random

from data_prep.scenes.description import COLUMNS, ROWS, Scene, SceneObject
from data_prep.scenes.solver import Cell, Place, Reference, describe, find

STYLE_NOUNS = {
    "photo": "photo",
    "faded": "faded photo",
    "poster": "poster",
    "pastel": "pastel drawing",
    "nocturne": "nocturne",
}

# Attribute sets a reference may state, the common ones listed more often.
# A cell alone is always unique.
_MENTIONS = (
    *(("color", "shape"),) * 5,
    *(("shape",),) * 4,
    ("color",),
    ("material", "shape"),
    ("pattern", "shape"),
    ("size", "shape"),
    ("size", "color", "shape"),
    ("color", "material", "shape"),
    ("color", "pattern", "shape"),
    ("color", "shape", "cell"),
    ("shape", "cell"),
    ("color", "cell"),
    ("cell",),
)
_LEADS = ("", "", "", "a scene with ", "a view of ")
_JOINS = (", ", ", ", " and ")
_TAILS = (
    ", on {ground} under a {sky} sky",
    ", standing on {ground} under a {sky} sky",
    ", {ground} below and a {sky} sky",
    " on {ground}, {sky} sky",
)


def cell_name(cell: Cell) -> str:
    """Such as "front left" or "middle center", as the viewer sees it."""
    return f"{ROWS[cell[0]]} {COLUMNS[cell[1]]}"


def choose_reference(rng: random.Random, scene: Scene, item: SceneObject) -> Reference:
    """A reference that points at `item` and at no other object of the scene, minimal or longer."""
    for attributes in rng.sample(_MENTIONS, len(_MENTIONS)):
        reference = describe(item, attributes)
        if find(scene, reference) is not None:
            return reference
    raise AssertionError("a cell alone is always unique")


def phrase(reference: Reference, rng: random.Random | None = None) -> str:
    """The words of a reference, such as "the red metal cube" or "the front left object".

    Without `rng` the cell stands before the noun, which no following place can be confused with.
    """
    words = [reference.size, reference.color, reference.material, reference.pattern]
    noun = " ".join(word for word in (*words, reference.shape or "object") if word)
    if reference.cell is None:
        return f"the {noun}"
    cell = cell_name(reference.cell)
    if rng is None or rng.random() < 0.5:
        return f"the {cell} {noun}"
    return f"the {noun} at the {cell}"


def place_phrase(place: Place) -> str:
    """The words of a place, such as "at the front left" or "behind the red ball"."""
    if place.cell is not None:
        return f"at the {cell_name(place.cell)}"
    assert place.anchor is not None
    return f"{place.relation} {phrase(place.anchor)}"


def object_phrase(item: SceneObject) -> str:
    """Every attribute of an object but its place; a plain pattern goes without saying."""
    pattern = "" if item.pattern == "plain" else f"{item.pattern} "
    return f"{item.size} {item.color} {item.material} {pattern}{item.shape}"


def caption(scene: Scene, rng: random.Random) -> str:
    """A caption that names every object, its cell, the ground, the sky, and any style but photo.

    The wording depends on the draws of `rng` only: two scenes with equal generators get the same
    wording, as the captions before and after an edit should.
    """
    order, lead = rng.randrange(4), rng.choice(_LEADS)
    join, tail = rng.choice(_JOINS), rng.choice(_TAILS)
    by_column = bool(order & 1)
    items = sorted(
        scene.objects,
        key=lambda o: (o.column, o.row) if by_column else (o.row, o.column),
        reverse=bool(order & 2),
    )
    names = [f"{object_phrase(item)} {cell_name((item.row, item.column))}" for item in items]
    text = join.join(names) + tail.format(ground=scene.ground, sky=scene.sky)
    if scene.style == "photo":
        return lead + text
    return f"a {STYLE_NOUNS[scene.style]} of {text}"
