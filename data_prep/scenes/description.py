"""What a scene is made of: the vocabulary, and the frozen description that is rendered, edited, worded and hashed.

The viewer's frame: x to the right, y away from the viewer, z up, meters. Objects stand on the ground in the
cells of a 3×3 grid that turns with the camera, so that "left" and "back" mean what a viewer sees.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

SHAPES = ("cube", "ball", "cylinder", "cone", "pyramid", "dome", "prism")
COLORS: dict[str, tuple[float, float, float]] = {  # linear-ish RGB albedo
    "red": (0.80, 0.10, 0.08),
    "yellow": (0.90, 0.74, 0.08),
    "green": (0.10, 0.52, 0.14),
    "cyan": (0.10, 0.68, 0.72),
    "blue": (0.10, 0.20, 0.78),
    "pink": (0.90, 0.34, 0.62),
    "white": (0.90, 0.90, 0.88),
    "black": (0.09, 0.09, 0.10),
}
MATERIALS = ("rubber", "metal", "glowing")
PATTERNS = ("plain", "striped", "checkered", "dotted")
SIZES: dict[str, float] = {"small": 0.38, "medium": 0.50, "large": 0.62}  # half extent, meters
GROUNDS = ("grass", "sand", "snow", "tiles")
SKIES = ("clear", "cloudy", "sunset", "night")
STYLES = ("photo", "faded", "poster", "pastel", "nocturne")

ROWS = ("front", "middle", "back")
COLUMNS = ("left", "center", "right")
CELL_SPACING = (
    1.45  # meters between cell centers; two large objects in neighboring cells barely touch
)
MAX_JITTER = 0.08  # meters, each axis
ROTATION_STEPS = 12  # of 30 degrees
MIN_OBJECTS, MAX_OBJECTS = 1, 5

# Label map: 0 sky, 1 ground, 2 + index into SHAPES. Color and material maps: 0 none, 1 + index.
LABELS = ("sky", "ground", *SHAPES)


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneObject:
    """One object. `rotation` counts steps of 30 degrees about the vertical, counter-clockwise seen from above."""

    shape: str
    color: str
    material: str
    pattern: str
    size: str
    rotation: int
    row: int  # 0 front, 1 middle, 2 back
    column: int  # 0 left, 1 center, 2 right
    jitter: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """Where the viewer stands: `height` in meters, `focal` length in picture widths.

    `azimuth` (radians) turns the world, its textures and light, under the viewer's grid.
    """

    azimuth: float
    height: float
    focal: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Light:
    """A sun: azimuth and elevation in radians (world frame).

    `strength` is its share against the ambient light.
    """

    azimuth: float
    elevation: float
    strength: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A complete description; rendering it is deterministic."""

    objects: tuple[SceneObject, ...]
    ground: str
    sky: str
    camera: Camera
    light: Light
    style: str = "photo"


def scene_hash(scene: Scene) -> str:
    """sha256 of the canonical JSON of a description; equal scenes have equal hashes whatever the order of objects."""
    record = asdict(scene)
    record["objects"] = sorted(record["objects"], key=lambda o: (o["row"], o["column"]))
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
