"""Agreement of soft edges in its published forms: multi-scale SSIM of HED maps and of line drawings.

ControlNet++ stores both maps as 8-bit pictures and scores four pictures a prompt; ControlAR stores the label alone and
scores one. ControlNet++ stores the label of a line drawing inverted, and turns the other one back with 1 − x on 8-bit
numbers, which wraps around; ControlAR shows the network colors in 0 … 255 where it was trained on 0 … 1. Both quirks
are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from editar_bench.contracts import MetricInfo
from editar_bench.metrics._base import PerSample, target, value_or_nan
from editar_bench.metrics._groups import by_prompt, tag, whole_prompts
from editar_bench.metrics._released import ReadsReleased
from editar_bench.types import Example, Picture, Task

Map = NDArray[np.float32]  # (H, W), a network's output in [0, 1]
Stored = NDArray[Any]  # (H, W) in 0...255

# How colors in 0...255 reach the network; the detour is ControlNet++'s, and rounds.
_SHOWN: Mapping[str, Callable[[Any], Any]] = {
    "bytes": lambda colors: colors,
    "units": lambda colors: colors / 255,
    "bytes by way of units": lambda colors: (colors / 255 * 255).clip(0, 255),
}


def _info(name: str, protocol: str, what: str, *, four: bool) -> MetricInfo:
    return MetricInfo(
        name=name,
        protocol=protocol,
        unit="MS-SSIM",
        direction="higher",
        version=1,
        tasks=frozenset({Task.EDGE}),
        gap="shuffled",
        set_level=four,
        description=f"multi-scale SSIM of {what} of result and source",
    )


class _SoftEdges(ReadsReleased):
    ROLE: ClassVar[str]
    SHOWN: ClassVar[str] = "bytes"  # to the network, see `_SHOWN`

    def __init_subclass__(cls) -> None:
        cls.ROLES = (cls.ROLE,) if hasattr(cls, "ROLE") else ()

    def maps(self, pictures: Sequence[Picture], *, again: bool = False) -> list[Map]:
        """The network's edges of each picture; `again`: those of other models are compared with it too."""
        from editar_bench.evaluators.soft_edges import pixels

        device, show = self.networks.device, _SHOWN[self.SHOWN]

        def compute(network: Any, chunk: Sequence[Picture]) -> dict[str, Any]:
            return {"edges": network(show(pixels(chunk, device)))}

        reading = f"edges-of-{self.SHOWN.replace(' ', '-')}"
        readings = self.networks.read(pictures, self.ROLE, reading, compute, again=again)
        return [reading["edges"] for reading in readings]

    def look(self, examples: Sequence[Example], images: Sequence[Picture]) -> None:
        """Find the edges of a batch of results and of the true pictures."""
        self.maps(images)
        self.maps([e.target for e in examples if e.target is not None], again=True)

    def value(self, example: Example, image: Picture) -> float:
        """In [0, 1]."""
        import torch

        from editar_bench.metrics._ssim import ms_ssim

        (found,), (true,) = self.maps([image]), self.maps([target(example)])
        pair = [torch.from_numpy(np.asarray(m, dtype=np.float32)) for m in self.stored(found, true)]
        result, label = ((m / 255).clip(0, 1)[None, None] for m in pair)
        return float(ms_ssim(result, label))

    def stored(self, found: Map, true: Map) -> tuple[Stored, Stored]:
        """Result and label as the published files hold them."""
        raise NotImplementedError


class _Four(_SoftEdges):
    """Set-level only to see that the four pictures of a prompt are there; the value is the mean over all pictures."""

    def observe(
        self, examples: Sequence[Example], images: Sequence[Picture]
    ) -> list[NDArray[np.float64]]:
        """The sample's tag and the value of the picture, NaN where it is undefined."""
        self.look(examples, images)
        pairs = zip(examples, images, strict=True)
        return [np.array([tag(e.id), value_or_nan(self.value, e, image)]) for e, image in pairs]

    def counted(self, observations: NDArray[Any]) -> NDArray[np.bool_]:
        """Four pictures of every prompt that has them."""
        return whole_prompts(observations)

    def reduce(self, observations: NDArray[Any]) -> float | None:
        """The mean; None unless every prompt has four pictures."""
        groups = by_prompt(observations)
        return None if groups is None else float(groups.mean())


class _One(_SoftEdges, PerSample):
    """ControlAR: the label rounded to 8 bit, the result as it is."""

    def prefetch(self, examples: Sequence[Example], images: Sequence[Picture]) -> None:
        """See `look`."""
        self.look(examples, images)

    def stored(self, found: Map, true: Map) -> tuple[Stored, Stored]:
        """In 0...255."""
        return found * np.float32(255), np.floor(true * np.float32(255) + np.float32(0.5))


class HedMsSsim(_Four):
    """ControlNet++'s."""

    ROLE, SHOWN = "hed", "bytes by way of units"
    INFO = _info("hed_ms_ssim", "hed.msssim.x4", "HED maps, four a prompt,", four=True)

    def stored(self, found: Map, true: Map) -> tuple[Stored, Stored]:
        """8 bit by truncation, twice: the detector cuts, and so does the picture file."""
        return _cut(_cut(found) / np.float32(255)), _cut(_cut(true) / np.float32(255))


class HedMsSsimX1(_One):
    """ControlAR's."""

    ROLE = "hed"
    INFO = _info("hed_ms_ssim_x1", "hed.msssim.x1", "HED maps", four=False)


class LineartMsSsim(_Four):
    """ControlNet++'s."""

    ROLE, SHOWN = "lineart", "units"
    INFO = _info("lineart_ms_ssim", "lineart.msssim.x4", "line drawings, four a prompt,", four=True)

    def stored(self, found: Map, true: Map) -> tuple[Stored, Stored]:
        """8 bit by truncation; the label is inverted before, the result after, modulo 256."""
        return np.uint8(1) - _cut(found).astype(np.uint8), _cut(np.float32(1) - true)


class LineartMsSsimX1(_One):
    """ControlAR's."""

    ROLE = "lineart"
    INFO = _info("lineart_ms_ssim_x1", "lineart.msssim.x1", "line drawings", four=False)


def _cut(values: Map) -> Map:
    """[0, 1] to whole numbers in 0...255, downwards."""
    scaled: Map = np.floor(values * np.float32(255)).clip(0, 255)
    return scaled
