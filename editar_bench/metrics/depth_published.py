"""Depth agreement in its three published forms, and with scale and shift aligned.

All estimate depth with DPT-Large and compare it with the `control_depth` picture on gray values 0...255; root mean
squared error per picture, then the mean. They differ in how the estimate is scaled, and cannot be compared with
each other: ControlNet++ (Li et al. 2024), ControlAR (Li et al. 2025), EditAR (Mu et al. 2025).
Legend: h × w pixels of an estimate, H × W of the label.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from editar_bench.contracts import MetricInfo
from editar_bench.metrics._base import PerSample, Undefined, truth_map, value_or_nan
from editar_bench.metrics._groups import by_prompt, tag, whole_prompts
from editar_bench.metrics._released import ReadsReleased
from editar_bench.types import Example, Picture, Task

Gray = NDArray[Any]  # (H, W) in 0...255
SIDE = 512  # pixels: the published size of pictures and labels
DEPTH = frozenset({Task.DEPTH})


def _info(name: str, protocol: str, how: str, *, set_level: bool = False) -> MetricInfo:
    return MetricInfo(
        name=name,
        protocol=protocol,
        unit="gray levels",
        direction="lower",
        version=1,
        tasks=DEPTH,
        gap="shuffled",
        set_level=set_level,
        description=f"RMSE of DPT-Large depth and the depth picture: {how}",
    )


class _Depth(ReadsReleased):
    ROLES = ("dpt-large",)
    INPUT_SIDE: ClassVar[int] = 384

    def estimates(self, images: Sequence[Picture]) -> list[NDArray[np.float32]]:
        """Relative inverse depth (h, w) of each picture."""
        side = self.INPUT_SIDE

        def compute(network: Any, pictures: Sequence[Picture]) -> dict[str, Any]:
            return {"depth": network.estimate(pictures, side)}

        readings = self.networks.read(images, "dpt-large", f"side{side}", compute)
        return [reading["depth"] for reading in readings]

    def value(self, example: Example, image: Picture) -> float:
        """Gray levels."""
        (estimate,) = self.estimates([image])
        if not np.isfinite(estimate).all():
            raise Undefined("the depth estimate is not finite")
        label = truth_map(example, "control_depth")
        return rmse(*self.compared(estimate, np.asarray(label)))

    def compared(self, estimate: NDArray[np.float32], label: Gray) -> tuple[Gray, Gray]:
        """The two gray maps, of one size."""
        raise NotImplementedError


class _DepthPerSample(_Depth, PerSample):
    def prefetch(self, examples: Sequence[Example], images: Sequence[Picture]) -> None:
        """Estimate a batch."""
        self.estimates(images)


class DepthRmseMinmax(_DepthPerSample):
    """EditAR: estimate and label each scaled from their minimum to their maximum."""

    INFO = _info(
        "depth_rmse_minmax", "depth.dptl384.minmax.x1", "both from minimum to maximum (EditAR)"
    )

    def compared(self, estimate: NDArray[np.float32], label: Gray) -> tuple[Gray, Gray]:
        """8 bit, then 512 pixels."""
        return enlarged(stretched(estimate)), sized(stretched(label))


class DepthRmseMax512(_DepthPerSample):
    """ControlAR: pictures enter DPT at 512, the estimate is divided by its maximum, the label is as stored."""

    INPUT_SIDE = 512
    INFO = _info(
        "depth_rmse_max512",
        "depth.dptl512.max.x1",
        "the estimate over its maximum, at 512 pixels (ControlAR)",
    )

    def compared(self, estimate: NDArray[np.float32], label: Gray) -> tuple[Gray, Gray]:
        """Not rounded."""
        return estimate * 255 / maximum(estimate), sized(label)


class DepthRmseMax(_Depth):
    """ControlNet++: the estimate divided by its maximum, the label from minimum to maximum; four pictures a prompt.

    Set-level only to see that the four are there; the value is the mean over all pictures.
    """

    INFO = _info(
        "depth_rmse_max",
        "depth.dptl384.max.x4",
        "the estimate over its maximum, four pictures a prompt (ControlNet++)",
        set_level=True,
    )

    def compared(self, estimate: NDArray[np.float32], label: Gray) -> tuple[Gray, Gray]:
        """8 bit by truncation, then 512 pixels."""
        gray = estimate / maximum(estimate) * 255  # in this order, which decides the truncation
        return enlarged(gray.astype(np.uint8)), sized(stretched(label))

    def observe(
        self, examples: Sequence[Example], images: Sequence[Picture]
    ) -> list[NDArray[np.float64]]:
        """The sample's tag and the RMSE of the picture, NaN where it is undefined."""
        self.estimates(images)
        pairs = zip(examples, images, strict=True)
        return [np.array([tag(e.id), value_or_nan(self.value, e, image)]) for e, image in pairs]

    def counted(self, observations: NDArray[Any]) -> NDArray[np.bool_]:
        """Four pictures of every prompt that has them."""
        return whole_prompts(observations)

    def reduce(self, observations: NDArray[Any]) -> float | None:
        """The mean; None unless every prompt has four pictures."""
        groups = by_prompt(observations)
        return None if groups is None else float(groups.mean())


class CleanDepthAligned(_DepthPerSample):
    """The estimate fitted to the label by the best scale and shift, which DPT leaves open by construction."""

    INFO = _info(
        "clean_depth_aligned",
        "clean.depth.dptl384.aligned",
        "the estimate fitted to the label by scale and shift",
    )

    def compared(self, estimate: NDArray[np.float32], label: Gray) -> tuple[Gray, Gray]:
        """Not rounded; the label as stored."""
        truth = sized(label).astype(np.float64)
        large = resized_float(estimate)
        if np.ptp(large) == 0:
            return np.full_like(truth, truth.mean()), truth
        design = np.stack([large.ravel(), np.ones(large.size)], 1)
        solution, *_ = np.linalg.lstsq(design, truth.ravel(), rcond=None)
        return (design @ solution).reshape(truth.shape), truth


def rmse(a: Gray, b: Gray) -> float:
    """Root of the mean squared difference of two maps of one size."""
    return float(np.sqrt(np.mean((a.astype(np.float64) - b) ** 2)))


def maximum(estimate: NDArray[np.float32]) -> np.float32:
    """The largest estimate; DPT's last layer keeps all of them from being negative."""
    top: np.float32 = estimate.max()
    if not top > 0:
        raise Undefined("the depth estimate is nowhere positive")
    return top


def stretched(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Minimum to 0 and maximum to 255, truncated to 8 bit."""
    wide = values.astype(np.float64)
    low, high = wide.min(), wide.max()
    if low == high:
        raise Undefined("the depth map is the same everywhere")
    gray: NDArray[np.uint8] = ((wide - low) / (high - low) * 255).astype(np.uint8)
    return gray


def enlarged(gray: NDArray[np.uint8]) -> Gray:
    """8 bit to 512 pixels by PIL's bilinear."""
    from PIL import Image

    return np.asarray(Image.fromarray(gray).resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def sized(label: Gray) -> Gray:
    """A label to 512 pixels, nearest; published labels have that size already."""
    from PIL import Image

    if label.shape == (SIDE, SIDE):
        return label
    return np.asarray(Image.fromarray(label).resize((SIDE, SIDE), Image.Resampling.NEAREST))


def resized_float(estimate: NDArray[np.float32]) -> NDArray[np.float64]:
    """An estimate to 512 pixels, bilinear, not rounded."""
    from PIL import Image

    image = Image.fromarray(estimate.astype(np.float32))
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR), dtype=np.float64)
