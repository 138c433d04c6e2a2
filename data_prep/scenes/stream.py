"""Endless, seeded draws of scenes and edits.

Each draw depends on (split, kind, index, attempt) and on nothing else.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from typing import Literal

from data_prep.scenes.description import Scene
from data_prep.scenes.edits import EDIT_TYPES, Edit, resolves, sample_edit
from data_prep.scenes.language import caption
from data_prep.scenes.sampling import contains_unseen, sample_scene

Split = Literal["train", "evaluator", "validation", "test", "reference"]
Kind = Literal["scene", "edit"]

SPLITS: tuple[Split, ...] = ("train", "evaluator", "validation", "test", "reference")
SPLIT_SIZE = 250  # samples a task in validation and test
SEEN_SIZE = 175  # the first of these, without held-out pairs; each of the others contains one
REFERENCE_SIZE = 5000  # renders that distances between distributions are measured against


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A scene with its caption, or an edit with both captions and its instruction.

    For an edit, `scene` is the source and `caption` the source's.
    """

    id: str
    scene: Scene
    caption: str
    edit: Edit | None = None
    target_caption: str | None = None
    instruction: str | None = None
    category: str = ""
    slices: tuple[str, ...] = ()


def draw(split: Split, kind: Kind, index: int, attempt: int = 0) -> Sample:
    """Draw sample `index` of a split; `attempt` counts redraws, for edits that hardly show.

    "train" never contains a held-out (color, shape) pair. "evaluator" holds them as often as any
    other pair. In the other splits they are in each of the last 75 of every 250 samples (in the
    target, for edits), and in none of the first 175.
    """
    rng = _generator(split, kind, index, attempt)
    unseen_wanted = split not in ("train", "evaluator") and index % SPLIT_SIZE >= SEEN_SIZE
    allow_unseen = unseen_wanted or split == "evaluator"
    make = _draw_scene if kind == "scene" else _draw_edit
    return make(rng, split, index, allow_unseen, unseen_wanted)


def _generator(split: str, kind: str, index: int, attempt: int) -> random.Random:
    digest = hashlib.sha256(f"scenes/1/{split}/{kind}/{index}/{attempt}".encode()).digest()
    return random.Random(int.from_bytes(digest, "big"))


def _draw_scene(
    rng: random.Random, split: str, index: int, allow_unseen: bool, unseen_wanted: bool
) -> Sample:
    scene = sample_scene(rng, allow_unseen=allow_unseen, require_unseen=unseen_wanted)
    return Sample(
        id=f"{split}-scene-{index:05d}",
        scene=scene,
        caption=caption(scene, rng),
        slices=(_slice(scene),),
    )


def _draw_edit(
    rng: random.Random, split: str, index: int, allow_unseen: bool, unseen_wanted: bool
) -> Sample:
    balanced = split in ("validation", "test")
    edit_type = EDIT_TYPES[index % len(EDIT_TYPES)] if balanced else rng.choice(EDIT_TYPES)
    while True:
        scene = sample_scene(rng, allow_unseen=allow_unseen)
        edit = sample_edit(rng, scene, edit_type, allow_unseen=allow_unseen)
        if edit is None or not resolves(edit):
            continue
        if not unseen_wanted or contains_unseen(edit.target):
            break
    wording = rng.getrandbits(64)
    return Sample(
        id=f"{split}-edit-{index:05d}",
        scene=scene,
        caption=caption(scene, random.Random(wording)),
        edit=edit,
        target_caption=caption(edit.target, random.Random(wording)),
        instruction=edit.instruction,
        category=edit_type,
        slices=(_slice(edit.target),),
    )


def _slice(scene: Scene) -> str:
    return "unseen" if contains_unseen(scene) else "seen"
