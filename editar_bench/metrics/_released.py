"""What metrics with released networks share: the networks, and a comparison in batches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from editar_bench.contracts import Missing
from editar_bench.evaluators.released import Released, shared_released
from editar_bench.evaluators.sources import piece
from editar_bench.metrics._base import Judged, PerSample, Undefined, defined
from editar_bench.types import Example, Picture, Score


class ReadsReleased(Judged):
    """A metric that reads the networks of `ROLES` (see `evaluators.sources.SOURCES`; may be none)."""

    ROLES: ClassVar[tuple[str, ...]] = ()

    def __init__(self, networks: Released | None = None) -> None:
        super().__init__()
        self.networks = networks or shared_released()

    def missing(self) -> list[Missing]:
        """Networks whose weights are not on this machine."""
        return [piece(role) for role in self.ROLES if self.networks.lacks(role)]

    def setup(self, device: str) -> None:
        """Load the networks."""
        self.networks.setup(device, *self.ROLES)

    def keep_features(self, folder: Path) -> None:
        """Share what the networks say with other runs."""
        self.networks.keep_features(folder)


class WithReleased(ReadsReleased, PerSample):
    """One that has a value a sample."""


Pair = tuple[Picture, Picture]  # source or truth, and result


class Compared(WithReleased):
    """A metric of two pictures, computed for a batch at once; its values do not depend on the batch.

    Pairs of a batch that have a value must be of one size, as they are in the published data sets.
    """

    def pair(self, example: Example, image: Picture) -> Pair:
        """The two pictures that are compared; raises `Undefined` where there is no value."""
        raise NotImplementedError

    def compare(self, pairs: Sequence[Pair]) -> Sequence[float | Undefined]:
        """One value a pair, or why it has none."""
        raise NotImplementedError

    def score(self, examples: Sequence[Example], images: Sequence[Picture]) -> list[Score]:
        """One Score per example, in order."""
        pairs = [self._try_pair(e, image) for e, image in zip(examples, images, strict=True)]
        good = [pair for pair in pairs if not isinstance(pair, Undefined)]
        values = iter(self.compare(good) if good else ())
        return [self._scored(p if isinstance(p, Undefined) else next(values)) for p in pairs]

    def _try_pair(self, example: Example, image: Picture) -> Pair | Undefined:
        try:
            return self.pair(example, image)
        except Undefined as reason:
            return reason

    def _scored(self, value: float | Undefined) -> Score:
        name, protocol = self.info.name, self.info.protocol
        try:
            if isinstance(value, Undefined):
                raise value
            return Score(metric=name, protocol=protocol, value=defined(float(value)))
        except Undefined as reason:
            return Score(metric=name, protocol=protocol, value=None, reason=str(reason))
