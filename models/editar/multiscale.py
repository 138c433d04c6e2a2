"""VAR's multi-scale residual quantization (arXiv 2404.02905) on the plain quantizer's codebook.

B batch, C code dimensions, H = W the finest grid side, K scales, p_k the side of scale k, N_k =
p_k².
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.editar.quantizer import COMMITMENT, Quantized, Quantizer

PHIS = 4  # convolutions shared by all scales
PHI_SHARE = 0.5  # how much of a scale's contribution goes through its convolution


def nearest_phi(scale: int, scales: int) -> int:
    """Which of the four convolutions serves a scale: the nearest of evenly spread ticks."""
    # In VAR's own arithmetic: with ten scales two of them lie exactly between two ticks.
    ticks = np.linspace(1 / 3 / PHIS, 1 - 1 / 3 / PHIS, PHIS)
    return int(np.argmin(np.abs(ticks - scale / max(scales - 1, 1))))


class MultiScaleResidual(nn.Module):
    """Codes a feature map as a pyramid of token maps, each coding what the coarser ones left over.

    The codebook belongs to the plain quantizer and is handed in with every call, so that a codec
    stores it once.
    """

    def __init__(self, dim: int, sides: Sequence[int]) -> None:
        super().__init__()
        self.sides = tuple(sides)
        self.phis = nn.ModuleList(nn.Conv2d(dim, dim, 3, padding=1) for _ in range(PHIS))

    def contribution(self, codes_BN: Tensor, scale: int, codebook: Quantizer) -> Tensor:
        """What the codes of one scale add to the finest feature map, (B, C, H, W)."""
        finest = self.sides[-1]
        h_BCHW = codebook.lookup(codes_BN, self.sides[scale])
        if self.sides[scale] != finest:
            h_BCHW = F.interpolate(h_BCHW, size=(finest, finest), mode="bicubic")
        phi = self.phis[nearest_phi(scale, len(self.sides))]
        return (1 - PHI_SHARE) * h_BCHW + PHI_SHARE * phi(h_BCHW)

    def reduce(self, features_BCHW: Tensor, scale: int) -> Tensor:
        """The finest map averaged down to one scale's grid, (B, C, p, p).

        Applied to the sum after scale k - 1, this is what a next-scale model reads to predict scale
        k.
        """
        side = self.sides[scale]
        if side == self.sides[-1]:
            return features_BCHW
        return F.interpolate(features_BCHW, size=(side, side), mode="area")

    @torch.no_grad()
    def encode(self, latents_BCHW: Tensor, codebook: Quantizer) -> list[Tensor]:
        """The codes of every scale, coarse to fine: K tensors int64 (B, N_k)."""
        rest_BCHW = latents_BCHW.float()
        codes = []
        for k in range(len(self.sides)):
            codes.append(codebook.nearest(self.reduce(rest_BCHW, k)))
            rest_BCHW = rest_BCHW - self.contribution(codes[k], k, codebook)
        return codes

    def partial_sums(self, codes: Sequence[Tensor], codebook: Quantizer) -> list[Tensor]:
        """The feature map after each scale, K tensors (B, C, H, W); the last one is decoded."""
        total_BCHW = self.contribution(codes[0], 0, codebook)
        sums = [total_BCHW]
        for k in range(1, len(codes)):
            total_BCHW = total_BCHW + self.contribution(codes[k], k, codebook)
            sums.append(total_BCHW)
        return sums

    def forward(self, latents_BCHW: Tensor, codebook: Quantizer) -> Quantized:
        """Quantize for training: straight-through on the sum, mean loss of the partial sums."""
        with torch.autocast(latents_BCHW.device.type, enabled=False):
            f_BCHW = latents_BCHW.float()
            codes = self.encode(f_BCHW, codebook)
            sums = self.partial_sums(codes, codebook)
            loss = f_BCHW.new_zeros(())
            for sum_BCHW in sums:
                loss = loss + F.mse_loss(sum_BCHW, f_BCHW.detach())
                loss = loss + COMMITMENT * F.mse_loss(f_BCHW, sum_BCHW.detach())
            codebook.record(torch.cat(codes, 1))
            features_BCHW = f_BCHW + (sums[-1] - f_BCHW).detach()
            return Quantized(features_BCHW, codes, loss / len(sums))
