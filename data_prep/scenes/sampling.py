"""Random scene descriptions, and the (color, shape) pairs that training never sees."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable

from data_prep.scenes.description import (
    COLORS,
    COLUMNS,
    GROUNDS,
    MATERIALS,
    MAX_JITTER,
    PATTERNS,
    ROTATION_STEPS,
    ROWS,
    SHAPES,
    SIZES,
    SKIES,
    STYLES,
    Camera,
    Light,
    Scene,
    SceneObject,
)

COLOR_NAMES = tuple(COLORS)
SIZE_NAMES = tuple(SIZES)
CELLS = tuple((row, column) for row in range(len(ROWS)) for column in range(len(COLUMNS)))

# Two colors a shape, on two diagonals of the shape × color table: every color and every shape is in
# a held-out pair, and in many seen ones.
HELD_OUT: frozenset[tuple[str, str]] = frozenset(
    (COLOR_NAMES[(i + offset) % len(COLOR_NAMES)], shape)
    for i, shape in enumerate(SHAPES)
    for offset in (0, 3)
)
_ALL_PAIRS = tuple((color, shape) for color in COLOR_NAMES for shape in SHAPES)
_SEEN_PAIRS = tuple(pair for pair in _ALL_PAIRS if pair not in HELD_OUT)
_HELD_OUT_PAIRS = tuple(pair for pair in _ALL_PAIRS if pair in HELD_OUT)

_COUNTS = (1, 2, 3, 4, 5)
_COUNT_WEIGHTS = (1, 2, 3, 3, 2)  # mean 3.27
_PLAIN_SHARE = 0.4
_PHOTO_SHARE = 0.92
_CAMERA_HEIGHT = (2.2, 3.6)  # meters
_FOCAL = (1.10, 1.50)  # picture widths
_ELEVATION = (0.5, 1.2)  # radians
_STRENGTH = (0.6, 1.0)


def is_unseen(item: SceneObject) -> bool:
    """True when the object's (color, shape) pair is held out from training."""
    return (item.color, item.shape) in HELD_OUT


def contains_unseen(scene: Scene) -> bool:
    """True when at least one object of the scene is a held-out (color, shape) pair."""
    return any(is_unseen(item) for item in scene.objects)


def sample_attributes(
    rng: random.Random, pairs: Iterable[tuple[str, str]], row: int, column: int
) -> SceneObject:
    """An object of one of `pairs`, standing unturned at the center of its cell."""
    color, shape = rng.choice(tuple(pairs))
    pattern = "plain" if rng.random() < _PLAIN_SHARE else rng.choice(PATTERNS[1:])
    return SceneObject(
        shape=shape,
        color=color,
        material=rng.choice(MATERIALS),
        pattern=pattern,
        size=rng.choice(SIZE_NAMES),
        rotation=0,
        row=row,
        column=column,
    )


def pairs_allowed(allow_unseen: bool) -> tuple[tuple[str, str], ...]:
    """The (color, shape) pairs a draw may use."""
    return _ALL_PAIRS if allow_unseen else _SEEN_PAIRS


def sample_scene(
    rng: random.Random, *, allow_unseen: bool = False, require_unseen: bool = False
) -> Scene:
    """Draw a scene of one to five objects in distinct cells.

    With `allow_unseen` held-out pairs come as often as any other; with `require_unseen` at least
    one object is such a pair.
    """
    count = rng.choices(_COUNTS, _COUNT_WEIGHTS)[0]
    cells = rng.sample(CELLS, count)
    pairs = pairs_allowed(allow_unseen or require_unseen)
    objects = []
    for i, (row, column) in enumerate(cells):
        forced = require_unseen and i == 0
        objects.append(_placed(rng, _HELD_OUT_PAIRS if forced else pairs, row, column))
    return Scene(
        objects=tuple(objects),
        ground=rng.choice(GROUNDS),
        sky=rng.choice(SKIES),
        camera=Camera(
            azimuth=_uniform(rng, 0.0, 2 * math.pi),
            height=_uniform(rng, *_CAMERA_HEIGHT),
            focal=_uniform(rng, *_FOCAL),
        ),
        light=Light(
            azimuth=_uniform(rng, 0.0, 2 * math.pi),
            elevation=_uniform(rng, *_ELEVATION),
            strength=_uniform(rng, *_STRENGTH),
        ),
        style=STYLES[0] if rng.random() < _PHOTO_SHARE else rng.choice(STYLES[1:]),
    )


def _placed(
    rng: random.Random, pairs: tuple[tuple[str, str], ...], row: int, column: int
) -> SceneObject:
    """An object of one of `pairs` with any rotation, a little off the center of its cell."""
    item = sample_attributes(rng, pairs, row, column)
    return SceneObject(
        shape=item.shape,
        color=item.color,
        material=item.material,
        pattern=item.pattern,
        size=item.size,
        rotation=rng.randrange(ROTATION_STEPS),
        row=row,
        column=column,
        jitter=(_uniform(rng, -MAX_JITTER, MAX_JITTER), _uniform(rng, -MAX_JITTER, MAX_JITTER)),
    )


def _uniform(rng: random.Random, low: float, high: float) -> float:
    """A uniform draw of 3 decimals, so that descriptions print and hash the same everywhere."""
    return round(rng.uniform(low, high), 3)
