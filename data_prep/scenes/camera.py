"""The camera: one ray through the center of each pixel and four around it.

It does not roll, so a ray's x depends on its column alone and its y and z on its row alone. Legend: B scenes, H rows,
W columns, S rays a pixel, K entries of a list of (scene, pixel).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from data_prep.scenes.description import CELL_SPACING
from data_prep.scenes.packing import Packed

SAMPLES = ((0.0, 0.0), (-0.375, -0.125), (0.125, -0.375), (0.375, 0.125), (-0.125, 0.375))
"""Ray offsets in a pixel: the center ray gives the maps, the four others (a rotated grid) the color."""
FRONT_HALF_WIDTH = (
    1.95  # meters of the front row on either side that just fit into the picture's width
)
LOOK_AT_HEIGHT = 1.0  # meters above the grid's center: leaves room for some sky


@dataclass(frozen=True, slots=True)
class Rays:
    """Eye (B, 3) and ray directions: x_BWS by column, y_BHS and z_BHS by row.

    Their component along the optical axis is 1, so that ray parameters are depths.
    """

    eye_B3: Tensor
    x_BWS: Tensor
    y_BHS: Tensor
    z_BHS: Tensor

    def through(self, b_K: Tensor, p_K: Tensor) -> Tensor:
        """Directions (K, S, 3) of the rays of pixels p (row-major) of scenes b."""
        n_scenes, size, n_samples = self.x_BWS.shape
        row_K, column_K = b_K * size + p_K // size, b_K * size + p_K % size
        flat = (n_scenes * size, n_samples)
        x_KS = self.x_BWS.reshape(flat)[column_K]
        y_KS, z_KS = self.y_BHS.reshape(flat)[row_K], self.z_BHS.reshape(flat)[row_K]
        return torch.stack([x_KS, y_KS, z_KS], -1)

    def colored(self, rows: slice = slice(None)) -> Rays:
        """The four rays a pixel that make its color, of some rows only."""
        return Rays(
            self.eye_B3, self.x_BWS[..., 1:], self.y_BHS[:, rows, 1:], self.z_BHS[:, rows, 1:]
        )


def camera_rays(packed: Packed, size: int) -> Rays:
    """The rays of size×size pixels."""
    focal_B, height_B = packed.focal_B, packed.height_B
    distance_B = CELL_SPACING + FRONT_HALF_WIDTH * focal_B / 0.5
    drop_B = height_B - LOOK_AT_HEIGHT
    norm_B = (distance_B.square() + drop_B.square()).sqrt()
    forward_y_B, forward_z_B = distance_B / norm_B, -drop_B / norm_B
    offsets_S2 = focal_B.new_tensor(SAMPLES)
    index_P = torch.arange(size, device=focal_B.device, dtype=focal_B.dtype)[:, None] + 0.5
    u_BWS = ((index_P + offsets_S2[:, 0]) / size - 0.5) / focal_B[:, None, None]
    v_BHS = (0.5 - (index_P + offsets_S2[:, 1]) / size) / focal_B[:, None, None]
    # Up is forward turned by a right angle in the y-z plane.
    y_BHS = forward_y_B[:, None, None] - v_BHS * forward_z_B[:, None, None]
    z_BHS = forward_z_B[:, None, None] + v_BHS * forward_y_B[:, None, None]
    eye_B3 = torch.stack([torch.zeros_like(focal_B), -distance_B, height_B], -1)
    return Rays(eye_B3, u_BWS, y_BHS, z_BHS)
