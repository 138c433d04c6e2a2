"""FID and KID of clean-fid, mode "clean": how like the true pictures the results are, as sets.

Heusel et al. 2017, Bińkowski et al. 2018, Parmar et al. 2022. Both are biased or noisy for few pictures; the number
of pictures stands beside them. Intervals come from the influence of each picture together with its true one.
Legend: N pictures, P prompts, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from editar_bench.contracts import MetricInfo
from editar_bench.metrics._base import EVERY_TASK
from editar_bench.metrics._frechet import frechet_distance, influences
from editar_bench.metrics._groups import PICTURES, by_prompt, first_pictures, tag, whole_prompts
from editar_bench.metrics._kernel import Cubing, kernel_influences, seeded
from editar_bench.metrics._released import ReadsReleased
from editar_bench.types import Example, Picture


def _info(name: str, protocol: str, unit: str, what: str, version: int = 1) -> MetricInfo:
    return MetricInfo(
        name=name,
        protocol=protocol,
        unit=unit,
        direction="lower",
        version=version,
        tasks=EVERY_TASK,
        set_level=True,
        description=f"{what} of Inception features to the true pictures, by clean-fid",
    )


class _InceptionDistance(ReadsReleased):
    ROLES = ("inception",)

    def observe(
        self, examples: Sequence[Example], images: Sequence[Picture]
    ) -> list[NDArray[np.float64]]:
        """The sample's tag, the features of the result, and those of the true picture, NaN without one: (1 + 2D,)."""
        found = self._features(images)
        true = iter(self._features([e.target for e in examples if e.target is not None]))
        return [
            np.concatenate(
                [[tag(e.id)], a, np.full_like(a, np.nan) if e.target is None else next(true)]
            )
            for e, a in zip(examples, found, strict=True)
        ]

    def _features(self, pictures: Sequence[Picture]) -> list[NDArray[np.float32]]:
        device = self.networks.device
        readings = self.networks.read(
            pictures, "inception", "clean", lambda net, p: {"f": net.features(p, device)}
        )
        return [reading["f"] for reading in readings]


class Fid(_InceptionDistance):
    """One picture a prompt: the first of each, where there are more."""

    INFO = _info("fid", "fid.clean.x1", "FID", "Fréchet distance")

    def counted(self, observations: NDArray[Any]) -> NDArray[np.bool_]:
        """The first picture of every prompt."""
        return first_pictures(observations)

    def reduce(self, observations: NDArray[Any]) -> float | None:
        """None for fewer than two pictures."""
        return _fid(observations[:, 1:])

    def influence(self, observations: NDArray[Any]) -> NDArray[np.float64]:
        """Of each picture together with its true one, (N,)."""
        return _fid_influence(observations[:, 1:])


class FidMean4(_InceptionDistance):
    """ControlNet++'s: one FID for the first picture of every prompt, one for the second …, and their mean."""

    INFO = _info("fid_mean4", "fid.clean.mean4", "FID", "mean of four Fréchet distances")

    def counted(self, observations: NDArray[Any]) -> NDArray[np.bool_]:
        """Four pictures of every prompt that has them."""
        return whole_prompts(observations)

    def reduce(self, observations: NDArray[Any]) -> float | None:
        """None unless every prompt has four pictures."""
        groups = by_prompt(observations)
        if groups is None or len(groups) < 2:
            return None
        distances = [_fid(groups[:, i]) for i in range(PICTURES)]
        return float(np.mean([distance for distance in distances if distance is not None]))

    def influence(self, observations: NDArray[Any]) -> NDArray[np.float64]:
        """Of each picture together with its true one on the distance of its group, (N,)."""
        groups = by_prompt(observations)
        assert groups is not None, "only a defined value has influences"
        found = np.empty(len(observations))
        # by_prompt sorts by the tag, and so is this order.
        order_P4 = np.argsort(observations[:, 0], kind="stable").reshape(-1, PICTURES)
        for i in range(PICTURES):
            found[order_P4[:, i]] = _fid_influence(groups[:, i])
        return found


class Kid(_InceptionDistance):
    """clean-fid's defaults: 100 subsets of at most 1,000 pictures, drawn with a fixed seed."""

    # Version 1 drew its subsets from pictures in another order.
    INFO = _info("kid", "kid.clean.x1", "×10⁻³", "kernel distance", version=2)

    def counted(self, observations: NDArray[Any]) -> NDArray[np.bool_]:
        """The first picture of every prompt: with more, a true picture would be in the set several times."""
        return first_pictures(observations)

    def reduce(self, observations: NDArray[Any]) -> float | None:
        """Times 1000; None for fewer than two pictures."""
        from cleanfid.fid import kernel_distance

        if len(observations) < 2:
            return None
        found, true = np.split(observations[:, 1:], 2, axis=1)
        with seeded():
            return 1e3 * float(kernel_distance(true.view(Cubing), found.view(Cubing)))

    def influence(self, observations: NDArray[Any]) -> NDArray[np.float64]:
        """Of each picture together with its true one, (N,), on the mean over all subsets; clean-fid draws 100."""
        found, true = np.split(observations[:, 1:], 2, axis=1)
        return 1e3 * kernel_influences(found, true)


def _fid(rows_N2D: NDArray[Any]) -> float | None:
    if len(rows_N2D) < 2:
        return None
    return frechet_distance(*np.split(rows_N2D, 2, axis=1))


def _fid_influence(rows_N2D: NDArray[Any]) -> NDArray[np.float64]:
    found_N, true_N = influences(*np.split(rows_N2D, 2, axis=1))
    return found_N + true_N
