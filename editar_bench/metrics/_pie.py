"""What PIE-Bench's metrics share: which parts of the source and the result they see.

Ju et al. 2024 (PnP Inversion, arXiv 2310.01506). A masked picture is the picture times the region; the black that
this leaves is compared too, so values are not normalized by the region's area.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from editar_bench.contracts import Direction, MetricInfo
from editar_bench.metrics._base import EDIT, Undefined, blacken, inside, outside
from editar_bench.metrics._released import Compared, Pair
from editar_bench.types import Example, Picture

Region = Literal["unedit", "frame", "edit"]
WORDS = {
    "unedit": "both pictures times (1 - mask), black counted, against the source",
    "frame": "whole pictures, against the source",
    "edit": "both pictures times the mask, black counted, against the source",
}


class PieComparison(Compared):
    """A distance or similarity of source and result in a region; subclasses name the region.

    `KIND` is (metric name, protocol id, unit, direction, what it is) without the region.
    """

    KIND: ClassVar[tuple[str, str, str, Direction, str]]
    REGION: ClassVar[Region]

    def __init_subclass__(cls, region: Region | None = None) -> None:
        if region is None:
            return
        name, protocol, unit, direction, what = cls.KIND
        suffix = "" if region == "frame" else region
        cls.REGION = region
        cls.INFO = MetricInfo(
            name="_".join(filter(None, (name, suffix))),
            protocol=".".join(filter(None, (protocol, suffix))),
            unit=unit,
            direction=direction,
            version=1,
            tasks=EDIT,
            description=f"PIE-Bench: {what}; {WORDS[region]}",
        )

    def pair(self, example: Example, image: Picture) -> Pair:
        """Source and result, black outside the region."""
        source, result = example.condition, fitted(example, image)
        if self.REGION == "frame":
            return source, result
        keep = outside(example) if self.REGION == "unedit" else inside(example)
        return blacken(source, keep), blacken(result, keep)


def fitted(example: Example, image: Picture) -> Picture:
    """The result as PIE-Bench reads it: of a strip that an editing script saved, the last square.

    Raises:
        Undefined: its size is not the source's.
    """
    rows, columns = example.condition.shape[:2]
    if image.shape[0] != image.shape[1]:
        image = image[-rows:, -columns:]
    if image.shape != example.condition.shape:
        height, width = image.shape[:2]
        raise Undefined(
            f"the picture has {width}×{height} pixels and the source {columns}×{rows}; "
            "the protocol compares equal sizes"
        )
    return image
