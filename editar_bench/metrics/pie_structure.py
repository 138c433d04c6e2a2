"""PIE-Bench's structure distance (dino.vitb8.keys11.in255), and the same with a properly scaled input.

Tumanyan et al. 2022 compare self-similarities of DINO's keys. PIE-Bench feeds pictures of 0..255 into a
normalization meant for 0..1; published numbers are made so.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from editar_bench.contracts import MetricInfo
from editar_bench.metrics._base import EDIT
from editar_bench.metrics._pie import PieComparison
from editar_bench.metrics._released import Pair
from editar_bench.types import Picture

if TYPE_CHECKING:
    from torch import Tensor

PROTOCOL = "dino.vitb8.keys11.in255"


class _Structure(PieComparison):
    ROLES = ("dino-vitb8",)
    PEAK: ClassVar[float] = 255.0
    KIND = ("pie_structure", PROTOCOL, "×10⁻³", "lower", "structure distance of DINO keys")

    def compare(self, pairs: Sequence[Pair]) -> list[float]:
        """Times 1000. Keys of a source are kept for other models."""
        from editar_bench.evaluators.dino import structure_distance

        device = self.networks.device
        sources = self._keys([source for source, _ in pairs], again=True)
        results = self._keys([result for _, result in pairs])
        return [
            1e3 * structure_distance(a["keys"], b["keys"], device)
            for a, b in zip(sources, results, strict=True)
        ]

    def _keys(self, pictures: Sequence[Picture], *, again: bool = False) -> list[dict[str, Any]]:
        reading = f"keys11-224-peak{self.PEAK:g}"
        compute = partial(_read_keys, peak=self.PEAK)
        return self.networks.read(pictures, "dino-vitb8", reading, compute, again=again)


class PieStructure(_Structure, region="frame"):
    """The whole frame, without a mask: the column of the published tables."""


class PieStructureUnedit(_Structure, region="unedit"):
    """Outside the mask."""


class PieStructureEdit(_Structure, region="edit"):
    """Inside the mask."""


class CleanStructure(_Structure):
    """The whole frame, input divided by 255 before ImageNet's mean and deviation."""

    REGION = "frame"
    PEAK = 1.0
    INFO = MetricInfo(
        name="clean_structure",
        protocol="clean.dino.vitb8.keys11.in1",
        unit="×10⁻³",
        direction="lower",
        version=1,
        tasks=EDIT,
        description="structure distance of DINO keys, input in [0, 1]; whole pictures, against the source",
    )


def _read_keys(network: Any, pictures: Sequence[Picture], peak: float) -> dict[str, Tensor]:
    from editar_bench.evaluators.dino import structure_input

    device = next(network.parameters()).device
    return {"keys": network.keys(structure_input(pictures, device, peak=peak))}
