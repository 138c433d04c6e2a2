"""What a phrase points at: a reference must match one object, a place one empty cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from data_prep.scenes.description import COLUMNS, ROWS, Scene, SceneObject

Cell = tuple[int, int]  # (row, column)

# Row and column steps of each relation, in the viewer's frame (row 0 is in front).
RELATIONS: dict[str, Cell] = {
    "to the left of": (0, -1),
    "to the right of": (0, 1),
    "in front of": (-1, 0),
    "behind": (1, 0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A set of constraints on one object; None leaves an attribute open."""

    shape: str | None = None
    color: str | None = None
    material: str | None = None
    pattern: str | None = None
    size: str | None = None
    cell: Cell | None = None

    def matches(self, item: SceneObject) -> bool:
        """True when the object fulfils every stated constraint."""
        return (
            (self.shape is None or self.shape == item.shape)
            and (self.color is None or self.color == item.color)
            and (self.material is None or self.material == item.material)
            and (self.pattern is None or self.pattern == item.pattern)
            and (self.size is None or self.size == item.size)
            and (self.cell is None or self.cell == (item.row, item.column))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An empty cell, named outright (`cell`) or by a `relation` to a uniquely named `anchor`."""

    cell: Cell | None = None
    relation: str | None = None
    anchor: Reference | None = None


def find(scene: Scene, reference: Reference) -> SceneObject | None:
    """The one object that a reference points at; None when none or several match."""
    matches = [item for item in scene.objects if reference.matches(item)]
    return matches[0] if len(matches) == 1 else None


def empty_cells(scene: Scene) -> list[Cell]:
    """The cells where nothing stands, in a fixed order."""
    taken = {(item.row, item.column) for item in scene.objects}
    cells = [(row, column) for row in range(len(ROWS)) for column in range(len(COLUMNS))]
    return [cell for cell in cells if cell not in taken]


def neighbor(item: SceneObject, relation: str) -> Cell | None:
    """The cell next to an object in the direction of a relation; None beyond the grid."""
    row_step, column_step = RELATIONS[relation]
    row, column = item.row + row_step, item.column + column_step
    inside = 0 <= row < len(ROWS) and 0 <= column < len(COLUMNS)
    return (row, column) if inside else None


def locate(scene: Scene, place: Place) -> Cell | None:
    """The empty cell that a place names; None when it is taken, outside the grid or not unique."""
    cell = place.cell
    if place.relation is not None and place.anchor is not None:
        anchor = find(scene, place.anchor)
        cell = neighbor(anchor, place.relation) if anchor is not None else None
    if cell is None or any((item.row, item.column) == cell for item in scene.objects):
        return None
    return cell


def describe(item: SceneObject, attributes: Sequence[str]) -> Reference:
    """The reference that states the given attributes of an object ("cell" among them)."""
    values = {name: getattr(item, name) for name in attributes if name != "cell"}
    if "cell" in attributes:
        values["cell"] = (item.row, item.column)
    return Reference(**values)
