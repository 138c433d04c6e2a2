"""FID and KID of clean-fid, mode "clean": how like the true pictures the results are, as sets.

Heusel et al. 2017, Bińkowski et al. 2018, Parmar et al. 2022. Both are biased or noisy for few pictures; the number
of pictures stands beside them.
Legend: N pictures, P prompts, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from editar_bench.contracts import MetricInfo
from editar_bench.metrics._base import EVERY_TASK, target
from editar_bench.metrics._frechet import frechet_distance
from editar_bench.metrics._groups import PICTURES, by_prompt, tag
from editar_bench.metrics._released import ReadsReleased
from editar_bench.metrics.distribution import _seeded
from editar_bench.types import Example, Picture


def _info(name: str, protocol: str, unit: str, what: str) -> MetricInfo:
    return MetricInfo(
        name=name,
        protocol=protocol,
        unit=unit,
        direction="lower",
        version=1,
        tasks=EVERY_TASK,
        set_level=True,
        description=f"{what} of Inception features to the true pictures, by clean-fid",
    )


class _InceptionDistance(ReadsReleased):
    ROLES = ("inception",)

    def observe(
        self, examples: Sequence[Example], images: Sequence[Picture]
    ) -> list[NDArray[np.float64]]:
        """The sample's tag, the features of the result, and those of the true picture: (1 + 2D,)."""
        truths = [target(example) for example in examples]
        found, true = self._features(images), self._features(truths)
        return [
            np.concatenate([[tag(e.id)], a, b])
            for e, a, b in zip(examples, found, true, strict=True)
        ]

    def _features(self, pictures: Sequence[Picture]) -> list[NDArray[np.float32]]:
        device = self.networks.device
        readings = self.networks.read(
            pictures, "inception", "clean", lambda net, p: {"f": net.features(p, device)}
        )
        return [reading["f"] for reading in readings]


class Fid(_InceptionDistance):
    """One picture a prompt; with more, all of them in one set."""

    INFO = _info("fid", "fid.clean.x1", "FID", "Fréchet distance")

    def reduce(self, observations: NDArray[Any]) -> float | None:
        """None for fewer than two pictures."""
        return _fid(observations[:, 1:])


class FidMean4(_InceptionDistance):
    """ControlNet++'s: one FID for the first picture of every prompt, one for the second …, and their mean."""

    INFO = _info("fid_mean4", "fid.clean.mean4", "FID", "mean of four Fréchet distances")

    def reduce(self, observations: NDArray[Any]) -> float | None:
        """None unless every prompt has four pictures."""
        groups = by_prompt(observations)
        if groups is None or len(groups) < 2:
            return None
        distances = [_fid(groups[:, i]) for i in range(PICTURES)]
        return float(np.mean([distance for distance in distances if distance is not None]))


class Kid(_InceptionDistance):
    """clean-fid's defaults: 100 subsets of at most 1,000 pictures, drawn with a fixed seed."""

    INFO = _info("kid", "kid.clean.x1", "×10⁻³", "kernel distance")

    def reduce(self, observations: NDArray[Any]) -> float | None:
        """Times 1000; None for fewer than two pictures.

        A bootstrap resample holds pictures twice, which would bias the estimate: each counts once.
        """
        from cleanfid.fid import kernel_distance

        rows = np.unique(observations, axis=0)[:, 1:]
        if len(rows) < 2:
            return None
        found, true = np.split(rows, 2, axis=1)
        with _seeded():
            return 1e3 * float(kernel_distance(true, found))


def _fid(rows_N2D: NDArray[Any]) -> float | None:
    if len(rows_N2D) < 2:
        return None
    return frechet_distance(*np.split(rows_N2D, 2, axis=1))
