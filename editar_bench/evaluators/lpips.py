"""LPIPS (Zhang et al. 2018) on SqueezeNet 1.1, as torchmetrics computes it.

Weights: torchvision's SqueezeNet; the learned channel weights are a file of torchmetrics.
Legend: B pairs, C channels, h × w positions of a layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from editar_bench.evaluators.released import fill, read_state, state_of

# Features are read after these layers of torchvision's `squeezenet1_1().features`.
LAYERS = (1, 4, 7, 9, 10, 11, 12)
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
EPS = 1e-8  # torchmetrics' (the lpips package adds 1e-10 to the length instead)


class SqueezeLpips(nn.Module):
    """A distance of pairs of pictures.

    Args:
        features: `squeezenet1_1().features`.
        heads_C: one vector of non-negative channel weights a layer.
    """

    def __init__(self, features: nn.Module, heads_C: Sequence[Tensor]) -> None:
        super().__init__()
        self.features = features
        self.heads = nn.ParameterList(head_C.flatten() for head_C in heads_C)

    @classmethod
    def load(cls, role: str) -> Self:
        """From torchvision's published weights."""
        from torchvision.models import squeezenet1_1

        state = state_of(role)
        with torch.device("meta"):  # no random start that the weights replace
            network = squeezenet1_1(weights=None)
        fill(network, state, role)
        return cls(network.features, torchmetrics_heads())

    def forward(self, a_B3HW: Tensor, b_B3HW: Tensor) -> Tensor:
        """Pictures in [-1, 1] to (B,)."""
        both = torch.cat([a_B3HW, b_B3HW])
        shift, scale = (both.new_tensor(v)[:, None, None] for v in (SHIFT, SCALE))
        x = (both - shift) / scale
        total_B = both.new_zeros(len(a_B3HW))
        heads = iter(self.heads)
        for i in range(max(LAYERS) + 1):
            x = self.features[i](x)
            if i in LAYERS:
                total_B = total_B + _layer_distance(x, next(heads))
        return total_B


def torchmetrics_heads() -> list[Tensor]:
    """The learned channel weights that torchmetrics brings along."""
    from torchmetrics.functional.image import lpips

    state = read_state(Path(lpips.__file__).parent / "lpips_models" / "squeeze.pth")
    return [state[f"lin{i}.model.1.weight"] for i in range(len(LAYERS))]


def _layer_distance(x_2BChw: Tensor, head_C: Tensor) -> Tensor:
    unit = x_2BChw / (x_2BChw.square().sum(1, keepdim=True) + EPS).sqrt()
    a_BChw, b_BChw = unit.chunk(2)
    means_BC = (a_BChw - b_BChw).square().mean((2, 3))
    return means_BC @ head_C
