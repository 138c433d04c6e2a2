"""Captioned COCO-Stuff (`limingcv/Captioned_COCOStuff`, train, 118,287 rows) for segmentation.

Of the columns only `control_seg` (the palette picture), `image` and the caption are read: the label maps are nested
lists and many times larger. The caption is `prompt`, or `detailed_prompt` in copies that have it, as the published
trainer prefers.
"""

from __future__ import annotations

from data_prep.training.pairs import Pair, Row, picture, text

REPOSITORY = "limingcv/Captioned_COCOStuff"
COLUMNS = ("image", "control_seg", "prompt")
DETAILED = "detailed_prompt"


def pair(row: Row) -> Pair:
    """Segmentation map to picture."""
    return Pair(
        text=text(row, DETAILED if DETAILED in row else "prompt", REPOSITORY),
        condition=picture(row, "control_seg", REPOSITORY),
        target=picture(row, "image", REPOSITORY),
    )
