"""A reader of instructions, written against the grammar and not with the code that words them.

`readings(text, scene)` returns every description that the text may mean; an instruction is
unambiguous when there is one.
"""

from __future__ import annotations

import re
from dataclasses import replace

from data_prep.scenes.description import (
    COLORS,
    COLUMNS,
    GROUNDS,
    MATERIALS,
    PATTERNS,
    ROWS,
    SHAPES,
    SIZES,
    SKIES,
    STYLES,
    Scene,
    SceneObject,
)
from data_prep.scenes.instructions import TEMPLATES
from data_prep.scenes.language import STYLE_NOUNS


def _any(words) -> str:
    return "(?:" + "|".join(words) + ")"


CELL = f"{_any(ROWS)} {_any(COLUMNS)}"
ATTRIBUTES = f"(?:{_any(SIZES)} )?(?:{_any(COLORS)} )?(?:{_any(MATERIALS)} )?(?:{_any(PATTERNS)} )?"
PHRASE = f"the (?:{CELL} )?{ATTRIBUTES}{_any((*SHAPES, 'object'))}(?: at the {CELL})?"
STEPS = {
    "to the left of": (0, -1),
    "to the right of": (0, 1),
    "in front of": (-1, 0),
    "behind": (1, 0),
}
PLACE = f"(?:at the {CELL}|{_any(STEPS)} {PHRASE})"
VALUES = {
    "shape": SHAPES,
    "pattern": PATTERNS,
    "size": tuple(SIZES),
    "color": tuple(COLORS),
    "material": MATERIALS,
    "ground": GROUNDS,
    "sky": SKIES,
    "style": tuple(STYLE_NOUNS[style] for style in STYLES),
}
NEW = f"{_any(SIZES)} {_any(COLORS)} {_any(MATERIALS)} (?:{_any(PATTERNS[1:])} )?{_any(SHAPES)}"


def _pattern(attribute: str, template: str) -> re.Pattern[str]:
    slots = {
        "ref": PHRASE,
        "place": PLACE,
        "new": NEW,
        "value": _any(VALUES.get(attribute, ("-",))),
        "old": _any((*GROUNDS, *SKIES)),
        "turn": r"\d+ degrees (?:counter)?clockwise",
    }
    return re.compile(template.format(**{k: f"(?P<{k}>{v})" for k, v in slots.items()}))


GRAMMAR = [(name, _pattern(name, t)) for name, group in TEMPLATES.items() for t in group]


def read_cell(text: str) -> tuple[int, int] | None:
    found = re.search(f"({_any(ROWS)}) ({_any(COLUMNS)})", text)
    return (ROWS.index(found[1]), COLUMNS.index(found[2])) if found else None


def read_words(text: str) -> dict[str, str]:
    """The attribute words of a phrase; no word belongs to two attributes."""
    groups = {
        "size": SIZES,
        "color": COLORS,
        "material": MATERIALS,
        "pattern": PATTERNS,
        "shape": SHAPES,
    }
    return {name: word for name, words in groups.items() for word in text.split() if word in words}


def referents(text: str, scene: Scene) -> list[SceneObject]:
    words, cell = read_words(text), read_cell(text)
    return [
        item
        for item in scene.objects
        if all(getattr(item, name) == word for name, word in words.items())
        and (cell is None or cell == (item.row, item.column))
    ]


def places(text: str, scene: Scene) -> list[tuple[int, int]]:
    relation = next((name for name in STEPS if text.startswith(name)), None)
    if relation is None:
        cells = [read_cell(text)]
    else:
        step = STEPS[relation]
        anchors = referents(text.removeprefix(relation), scene)
        cells = [(item.row + step[0], item.column + step[1]) for item in anchors]
    taken = {(item.row, item.column) for item in scene.objects}
    return [c for c in cells if c not in taken and 0 <= c[0] < 3 and 0 <= c[1] < 3]


def readings(text: str, scene: Scene) -> list[Scene]:
    results: list[Scene] = []
    for attribute, pattern in GRAMMAR:
        if match := pattern.fullmatch(text):
            for scene_after in _apply(attribute, match.groupdict(), scene):
                if scene_after not in results:
                    results.append(scene_after)
    return results


def _apply(attribute: str, words: dict[str, str], scene: Scene) -> list[Scene]:
    if attribute in ("ground", "sky"):
        old = words.get("old")
        fits = old is None or old == getattr(scene, attribute)
        return [replace(scene, **{attribute: words["value"]})] if fits else []
    if attribute == "style":
        style = next(name for name, noun in STYLE_NOUNS.items() if noun == words["value"])
        return [replace(scene, style=style)]
    if attribute == "add":
        new = {"pattern": "plain", **read_words(words["new"])}
        cells = places(words["place"], scene)
        items = [SceneObject(**new, rotation=0, row=r, column=c) for r, c in cells]
        return [replace(scene, objects=(*scene.objects, item)) for item in items]
    return [
        replace(
            scene, objects=tuple(x for o in scene.objects for x in (after if o is item else [o]))
        )
        for item in referents(words["ref"], scene)
        for after in _object_after(attribute, words, scene, item)
    ]


def _object_after(
    attribute: str, words: dict[str, str], scene: Scene, item: SceneObject
) -> list[list[SceneObject]]:
    if attribute == "delete":
        return [[]]
    if attribute == "rotation":
        degrees, _, direction = words["turn"].split()
        sign = 1 if direction == "counterclockwise" else -1
        return [[replace(item, rotation=(item.rotation + sign * int(degrees) // 30) % 12)]]
    if attribute == "cell":
        cells = places(words["place"], scene)
        return [[replace(item, row=r, column=c, jitter=(0.0, 0.0))] for r, c in cells]
    return [[replace(item, **{attribute: words["value"]})]]
