import pytest

from data_prep.scenes.description import Camera, Light, Scene, SceneObject
from data_prep.scenes.solver import Place, Reference, empty_cells, find, locate


def item(shape, color, row, column, material="rubber"):
    return SceneObject(
        shape=shape,
        color=color,
        material=material,
        pattern="plain",
        size="small",
        rotation=0,
        row=row,
        column=column,
    )


RED_CUBE, BLUE_CUBE = item("cube", "red", 0, 0), item("cube", "blue", 0, 1)
RED_BALL = item("ball", "red", 2, 2, "metal")
SCENE = Scene(
    objects=(RED_CUBE, BLUE_CUBE, RED_BALL),
    ground="grass",
    sky="clear",
    camera=Camera(azimuth=0.0, height=2.0, focal=1.0),
    light=Light(azimuth=0.0, elevation=1.0, strength=1.0),
)


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        (Reference(shape="ball"), RED_BALL),
        (Reference(shape="cube"), None),  # two of them
        (Reference(color="red"), None),
        (Reference(shape="cube", color="red"), RED_CUBE),
        (Reference(material="metal"), RED_BALL),
        (Reference(cell=(0, 1)), BLUE_CUBE),
        (Reference(shape="ball", cell=(0, 1)), None),  # contradicts itself
        (Reference(shape="cone"), None),  # none there
    ],
)
def test_reference_must_match_exactly_one(reference, expected):
    assert find(SCENE, reference) is expected


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (Place(cell=(1, 1)), (1, 1)),
        (Place(cell=(0, 0)), None),  # taken
        (Place(relation="behind", anchor=Reference(shape="cube", color="red")), (1, 0)),
        (Place(relation="in front of", anchor=Reference(shape="ball")), (1, 2)),
        (Place(relation="to the left of", anchor=Reference(shape="ball")), (2, 1)),
        (Place(relation="to the right of", anchor=Reference(color="blue")), (0, 2)),
        (Place(relation="to the right of", anchor=Reference(shape="ball")), None),  # off the grid
        (Place(relation="to the right of", anchor=Reference(shape="cube", color="red")), None),
        (Place(relation="behind", anchor=Reference(shape="cube")), None),  # which cube?
    ],
)
def test_place_is_one_empty_cell(place, expected):
    assert locate(SCENE, place) == expected


def test_empty_cells():
    assert empty_cells(SCENE) == [(0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1)]
