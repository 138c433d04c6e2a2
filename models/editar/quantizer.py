"""The plain vector quantizer of LlamaGen's codec (arXiv 2406.06525).

B batch, C code dimensions, H height, W width, M = B·H·W rows, V codes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

USAGE_WINDOW = 65536  # recent indices kept for the usage statistic; a shape of the published files
COMMITMENT = 0.25  # weight of the term that pulls latents to their codes


@dataclass(frozen=True, slots=True)
class Quantized:
    """What a training forward of either quantizer returns.

    `features_BCHW` carries the straight-through gradient, `codes` has one (B, n) tensor per scale
    (a single one for the plain quantizer), `loss` is codebook term plus weighted commitment term, a
    scalar.
    """

    features_BCHW: Tensor
    codes: list[Tensor]
    loss: Tensor


class Quantizer(nn.Module):
    """A codebook with nearest-neighbor lookup.

    With `l2_norm` both latents and codebook rows are scaled to unit length before they are
    compared, and a lookup returns the unit row (the published codec); without it distances are
    Euclidean on the raw vectors.
    """

    codebook_used: Tensor

    def __init__(self, size: int, dim: int, l2_norm: bool) -> None:
        super().__init__()
        self.size, self.dim, self.l2_norm = size, dim, l2_norm
        self.embedding = nn.Embedding(size, dim)
        nn.init.uniform_(self.embedding.weight, -1.0 / size, 1.0 / size)
        if l2_norm:
            self.embedding.weight.data = F.normalize(self.embedding.weight.data, dim=-1)
        self.register_buffer("codebook_used", torch.full((USAGE_WINDOW,), -1.0))  # -1: not yet seen

    def rows(self) -> Tensor:
        """The effective codebook (V, C): unit rows where the flag is on."""
        weight_VC = self.embedding.weight
        return F.normalize(weight_VC, dim=-1) if self.l2_norm else weight_VC

    def normalized(self, latents_BCHW: Tensor) -> Tensor:
        """Latents in the space the codebook lives in."""
        return F.normalize(latents_BCHW, dim=1) if self.l2_norm else latents_BCHW

    def nearest(self, latents_BCHW: Tensor) -> Tensor:
        """The index of the nearest code at every place: int64 (B, H·W), row-major."""
        with torch.no_grad(), torch.autocast(latents_BCHW.device.type, enabled=False):
            z_MC = latents_BCHW.float().permute(0, 2, 3, 1).reshape(-1, self.dim)
            if self.l2_norm:
                z_MC = F.normalize(z_MC, dim=-1)
            rows_VC = self.rows().float()
            # ‖z‖² is the same for every code, but with it sums round as the published ones do, and of codes that
            # are then equally far the first is taken.
            distance_MV = z_MC.square().sum(-1, keepdim=True) + rows_VC.square().sum(-1)
            distance_MV.sub_(z_MC @ rows_VC.T, alpha=2)
            return distance_MV.argmin(-1).view(latents_BCHW.shape[0], -1)

    def lookup(self, codes_BN: Tensor, height: int, width: int | None = None) -> Tensor:
        """The code vectors of a grid, (B, C, height, width): a square one where no width is given."""
        grid_BHWC = F.embedding(codes_BN, self.rows()).unflatten(1, (height, width or height))
        return grid_BHWC.permute(0, 3, 1, 2).contiguous()

    def forward(self, latents_BCHW: Tensor) -> Quantized:
        """Quantize for training: straight-through features, codes and loss, in float32."""
        with torch.autocast(latents_BCHW.device.type, enabled=False):
            z_BCHW = self.normalized(latents_BCHW.float())
            codes_BN = self.nearest(latents_BCHW)
            picked_BCHW = self.lookup(codes_BN, *latents_BCHW.shape[-2:])
            loss = F.mse_loss(picked_BCHW, z_BCHW.detach())
            loss = loss + COMMITMENT * F.mse_loss(z_BCHW, picked_BCHW.detach())
            self.record(codes_BN)
            return Quantized(z_BCHW + (picked_BCHW - z_BCHW).detach(), [codes_BN], loss)

    @torch.no_grad()
    def record(self, codes: Tensor) -> None:
        """Push indices into the window of recently used codes (in training mode only)."""
        if not self.training:
            return
        recent = codes.flatten()[-USAGE_WINDOW:].to(self.codebook_used.dtype)
        self.codebook_used.copy_(torch.cat([self.codebook_used[recent.numel() :], recent]))

    def usage(self) -> Tensor:
        """How often each code stands in the window: int64 (V,)."""
        seen = self.codebook_used[self.codebook_used >= 0].long()
        return torch.bincount(seen, minlength=self.size)


@torch.no_grad()
def revive(
    codebook_VC: Tensor, usage_V: Tensor, latents_MC: Tensor, generator: torch.Generator
) -> int:
    """Replace, in place, the codes nobody uses by current encoder outputs.

    Args:
        codebook_VC: the weights of the codebook.
        usage_V: how often each code was used lately; zero marks it dead.
        latents_MC: encoder outputs to draw from, already normalized where the codec normalizes.
        generator: a CPU generator that decides the draws.

    Returns:
        How many codes were replaced.
    """
    dead_K = (usage_V == 0).nonzero().squeeze(1)
    count = len(dead_K)
    if count == 0:
        return 0
    picks_K = torch.randint(latents_MC.shape[0], (count,), generator=generator)
    # A little noise keeps two codes apart that drew the same latent.
    noise_KC = torch.randn(count, codebook_VC.shape[1], generator=generator).to(codebook_VC)
    drawn_KC = latents_MC[picks_K.to(latents_MC.device)].to(codebook_VC)
    codebook_VC[dead_K] = drawn_KC + 0.01 * latents_MC.std().to(codebook_VC) * noise_KC
    return count
