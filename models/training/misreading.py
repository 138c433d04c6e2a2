"""Codes of the target as a sampler reads them back: some are wrong.

Trained on true codes alone, a next-token model believes whatever it has drawn, and one bad draw leads to the next. With
a part of the codes it reads replaced by random ones, what is to be predicted stays, and it learns to look at the
condition again (docs/training-log.md: "Wrong codes in training").
Legend: B samples, M target codes.
"""

from __future__ import annotations

import torch
from torch import Tensor

MISREAD = 0.1  # of the codes on average; each sample has a share of its own, from 0 to twice that


def misread(codes_BM: Tensor, codebook: int, generator: torch.Generator) -> Tensor:
    """The codes with some replaced by any of the codebook: int64 (B, M) on their device."""
    share_B1 = 2 * MISREAD * torch.rand(len(codes_BM), 1, generator=generator)
    wrong_BM = torch.rand(codes_BM.shape, generator=generator) < share_B1
    others_BM = torch.randint(codebook, codes_BM.shape, generator=generator)
    device = codes_BM.device
    return torch.where(wrong_BM.to(device), others_BM.to(device), codes_BM)
