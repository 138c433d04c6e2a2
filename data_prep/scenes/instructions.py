"""The sentences of edit instructions: at least four a kind of change.

Placeholders: `ref` a phrase for the object to change, `place` a phrase for an empty cell, `new` a
full description of an object, `value` and `old` the new and the old word, `turn` a rotation.
"""

from __future__ import annotations

TEMPLATES: dict[str, tuple[str, ...]] = {
    "shape": (
        "turn {ref} into a {value}",
        "replace {ref} with a {value}",
        "change {ref} to a {value}",
        "make {ref} a {value}",
        "swap {ref} for a {value}",
    ),
    "add": (
        "add a {new} {place}",
        "put a {new} {place}",
        "place a {new} {place}",
        "insert a {new} {place}",
        "there should be a {new} {place}",
    ),
    "delete": (
        "remove {ref}",
        "delete {ref}",
        "take away {ref}",
        "get rid of {ref}",
        "erase {ref}",
    ),
    "pattern": (
        "make {ref} {value}",
        "give {ref} a {value} pattern",
        "change {ref} to a {value} pattern",
        "let {ref} be {value}",
    ),
    "size": (
        "make {ref} {value}",
        "change {ref} to {value} size",
        "resize {ref} to {value}",
        "let {ref} be {value}",
    ),
    "rotation": (
        "rotate {ref} {turn}",
        "turn {ref} {turn}",
        "rotate {ref} by {turn}",
        "spin {ref} {turn}",
    ),
    "cell": (
        "move {ref} so that it is {place}",
        "put {ref} {place}",
        "place {ref} {place}",
        "let {ref} stand {place}",
        "shift {ref} until it is {place}",
    ),
    "color": (
        "make {ref} {value}",
        "paint {ref} {value}",
        "change the color of {ref} to {value}",
        "color {ref} {value}",
        "recolor {ref} in {value}",
    ),
    "material": (
        "make {ref} {value}",
        "change the material of {ref} to {value}",
        "let {ref} be {value}",
        "give {ref} a {value} surface",
    ),
    "ground": (
        "change the ground to {value}",
        "replace the {old} with {value}",
        "make the ground {value}",
        "put everything on {value}",
        "cover the ground with {value}",
    ),
    "sky": (
        "change the sky to a {value} sky",
        "replace the {old} sky with a {value} sky",
        "make it a {value} sky",
        "put everything under a {value} sky",
        "give the scene a {value} sky",
    ),
    "style": (
        "turn this into a {value}",
        "make it a {value}",
        "change the style to a {value}",
        "render the scene as a {value}",
        "show this as a {value}",
    ),
}


def turn_phrase(steps: int) -> str:
    """The words of a turn by `steps` of 30 degrees, counter-clockwise from above if positive."""
    direction = "counterclockwise" if steps > 0 else "clockwise"
    return f"{abs(steps) * 30} degrees {direction}"
