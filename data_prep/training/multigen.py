"""MultiGen-20M's training pictures with depth (Qin et al. 2023; `limingcv/MultiGen-20M_depth`, train, 2,810,604 rows).

The columns are `image`, `control_depth` and `text`. Edges are made from the same pictures. A few are TIFFs.
"""

from __future__ import annotations

from data_prep.training.pairs import Pair, Row, picture, text

REPOSITORY = "limingcv/MultiGen-20M_depth"
DEPTH_COLUMNS = ("image", "control_depth", "text")
CANNY_COLUMNS = ("image", "text")


def depth_pair(row: Row) -> Pair:
    """Depth map to picture."""
    return Pair(
        text=text(row, "text", REPOSITORY),
        condition=picture(row, "control_depth", REPOSITORY),
        target=picture(row, "image", REPOSITORY),
    )


def canny_pair(row: Row) -> Pair:
    """Edges, still to be drawn, to picture."""
    target = picture(row, "image", REPOSITORY)
    return Pair(text=text(row, "text", REPOSITORY), condition=None, target=target)
