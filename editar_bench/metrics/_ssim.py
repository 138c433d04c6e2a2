"""SSIM (Wang et al. 2004) and multi-scale SSIM (Wang et al. 2003) as torchmetrics had them before 1.5.

The published tables were made with those versions. They count only the places where the whole window lies inside
the picture; 1.5 and later also count the border of mirrored pixels (pull request 2721), which moves the value.
EditAR's requirements name 1.5.1; whether its table was made with that, or with PIE-Bench's own version, is not known.
Legend: B pairs, C channels, H × W pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from editar_bench.metrics._base import Undefined

if TYPE_CHECKING:
    from torch import Tensor

SIGMA, TAPS = 1.5, 11  # pixels
C1, C2 = 0.01**2, 0.03**2  # data range 1
BETAS: Final = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, finest first
MIN_SIZE: Final = (
    TAPS - 1
) * 16 + 16  # pixels a side that five scales need, as torchmetrics demands


def ssim(a_BCHW: Tensor, b_BCHW: Tensor) -> Tensor:
    """SSIM (B,) of pictures in [0, 1].

    Raises:
        Undefined: a side is shorter than the window.
    """
    _check_sides(a_BCHW, TAPS)
    return _similarity_and_contrast(a_BCHW, b_BCHW)[0]


def ms_ssim(a_BCHW: Tensor, b_BCHW: Tensor) -> Tensor:
    """Multi-scale SSIM (B,) of pictures in [0, 1]; negative parts count as 0.

    Raises:
        Undefined: a side has fewer than `MIN_SIZE` pixels.
    """
    import torch
    from torch.nn.functional import avg_pool2d

    _check_sides(a_BCHW, MIN_SIZE)
    parts = []
    for _ in BETAS:
        similarity_B, contrast_B = _similarity_and_contrast(a_BCHW, b_BCHW)
        parts.append(contrast_B)
        a_BCHW, b_BCHW = avg_pool2d(a_BCHW, 2), avg_pool2d(b_BCHW, 2)
    parts[-1] = similarity_B  # brightness counts at the coarsest scale only
    exponents = a_BCHW.new_tensor(BETAS)[:, None]
    return (torch.stack(parts).clamp(min=0) ** exponents).prod(0)


def _check_sides(images_BCHW: Tensor, least: int) -> None:
    height, width = images_BCHW.shape[-2:]
    if min(height, width) < least:
        raise Undefined(
            f"a picture of {width}×{height} pixels is too small; the windows need {least} a side"
        )


def _similarity_and_contrast(a_BCHW: Tensor, b_BCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Means (B,) of SSIM and of its contrast part.

    torchmetrics mirrors the border, filters with a square window, and drops the border again. Filtering rows and then
    columns of the bare picture gives the same numbers with a fraction of the products.
    """
    import torch

    maps = torch.stack([a_BCHW, b_BCHW, a_BCHW**2, b_BCHW**2, a_BCHW * b_BCHW])
    mean_a, mean_b, square_a, square_b, product = _blurred(maps)
    # Rounding may leave a variance below zero.
    variances = (square_a - mean_a**2).clamp(min=0) + (square_b - mean_b**2).clamp(min=0)
    contrast = (2 * (product - mean_a * mean_b) + C2) / (variances + C2)
    brightness = (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
    return (brightness * contrast).flatten(1).mean(1), contrast.flatten(1).mean(1)


def _blurred(maps_5BCHW: Tensor) -> Tensor:
    """Filtered by sums of shifted pictures, which a CPU adds seventeen times faster than it convolves one channel."""
    import torch

    offsets = torch.arange(TAPS, dtype=maps_5BCHW.dtype) - TAPS // 2
    weights = torch.exp(-((offsets / SIGMA) ** 2) / 2)
    shares = (weights / weights.sum()).tolist()
    for axis in (-2, -1):
        length = maps_5BCHW.shape[axis] - TAPS + 1
        total = shares[0] * maps_5BCHW.narrow(axis, 0, length)
        for shift, share in enumerate(shares[1:], start=1):
            total.add_(maps_5BCHW.narrow(axis, shift, length), alpha=share)
        maps_5BCHW = total
    return maps_5BCHW
