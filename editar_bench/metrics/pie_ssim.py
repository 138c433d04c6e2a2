"""PIE-Bench's SSIM: torchmetrics' defaults before 1.5, data range 1 (pie.ssim)."""

from __future__ import annotations

from collections.abc import Sequence

from editar_bench.metrics._base import Undefined
from editar_bench.metrics._pie import PieComparison
from editar_bench.metrics._released import Pair
from editar_bench.metrics._ssim import ssim
from editar_bench.types import Picture


class _Ssim(PieComparison):
    KIND = ("pie_ssim", "pie.ssim", "×10⁻²", "higher", "SSIM")

    def compare(self, pairs: Sequence[Pair]) -> list[float | Undefined]:
        """Times 100; one pair at a time, which keeps the maps in the processor's cache."""
        return [self._one(*pair) for pair in pairs]

    def _one(self, source: Picture, result: Picture) -> float | Undefined:
        import torch

        from editar_bench.evaluators.pictures import as_unit

        device = self.networks.device
        try:
            with torch.inference_mode():
                return 100 * float(ssim(as_unit([source], device), as_unit([result], device)))
        except Undefined as reason:
            return reason


class PieSsimUnedit(_Ssim, region="unedit"):
    """Outside the mask."""


class PieSsim(_Ssim, region="frame"):
    """The whole frame."""


class PieSsimEdit(_Ssim, region="edit"):
    """Inside the mask."""
