"""Numbers of the scenes suite that several rooms read."""

from __future__ import annotations

IMAGE_SIZE = 64  # pixels a side
NEAR, FAR = (
    3.5,
    16.0,
)  # meters; the one fixed range of inverse depth, for the condition picture and for `depth_rmse`
MAPS = ("label", "color", "material")  # names of the uint8 maps beside every picture
