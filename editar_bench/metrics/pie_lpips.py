"""PIE-Bench's LPIPS: SqueezeNet, pictures in [-1, 1], what is masked is -1 in both (pie.lpips.squeeze)."""

from __future__ import annotations

from collections.abc import Sequence

from editar_bench.evaluators.precision import exact_float32
from editar_bench.metrics._pie import PieComparison
from editar_bench.metrics._released import Pair

CHUNK = 4  # pairs at once: the first layer of one pair of 512 pixels is 33 MB


class _Lpips(PieComparison):
    ROLES = ("lpips-squeeze",)
    KIND = ("pie_lpips", "pie.lpips.squeeze", "×10⁻³", "lower", "LPIPS of SqueezeNet")

    def compare(self, pairs: Sequence[Pair]) -> list[float]:
        """Times 1000."""
        import torch

        from editar_bench.evaluators.pictures import as_batch

        network, device = self.networks["lpips-squeeze"], self.networks.device
        values: list[float] = []
        for start in range(0, len(pairs), CHUNK):
            sources, results = zip(*pairs[start : start + CHUNK], strict=True)
            with torch.inference_mode(), exact_float32():
                distances_B = network(as_batch(sources, device), as_batch(results, device))
            values += (1e3 * distances_B.double()).tolist()
        return values


class PieLpipsUnedit(_Lpips, region="unedit"):
    """Outside the mask."""


class PieLpips(_Lpips, region="frame"):
    """The whole frame."""


class PieLpipsEdit(_Lpips, region="edit"):
    """Inside the mask."""
