"""Codes of the target as a sampler reads them back: some are wrong.

Trained on true codes alone, a next-token model believes whatever it has drawn, and one bad draw leads to the next. With
a part of the codes it reads replaced, what is to be predicted stays, and it learns to look at the condition again
(docs/training-log.md: "Wrong codes in training"). A beginner reads random codes; a model that has learned to tell
those from right ones reads codes that it would have drawn itself (Mihaylova and Martins 2019, arXiv 1906.07651).

Behind the first changed code of an edited picture the others follow without the instruction. So a part of the edits
reads the source picture's codes instead: what changes, and how, then stands in the instruction alone.
Legend: B samples, M target codes, V codebook.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.editar.choosing import draw

# Of the codes on average; each sample has a share of its own, from 0 to twice that.
MISREAD = 0.1  # random ones
OWN = 0.5  # the model's own draws
HIDDEN = 0.5  # of edits, not of codes: the source picture's, half of the time alone


def misread(codes_BM: Tensor, codebook: int, generator: torch.Generator) -> Tensor:
    """The codes with some replaced by any of the codebook: int64 (B, M) on their device."""
    others_BM = torch.randint(codebook, codes_BM.shape, generator=generator)
    return _mixed(codes_BM, others_BM.to(codes_BM.device), MISREAD, generator)


def own_draws(codes_BM: Tensor, logits_BMV: Tensor, generator: torch.Generator) -> Tensor:
    """The codes with some replaced by draws from the model's logits for them: int64 (B, M) on their device."""
    uniform_R1 = torch.rand(codes_BM.numel(), 1, generator=generator, dtype=torch.float64)
    drawn_R = draw(logits_BMV.float().softmax(-1).flatten(0, 1), uniform_R1.to(codes_BM.device))
    return _mixed(codes_BM, drawn_R.view(codes_BM.shape), OWN, generator)


def hidden_behind(
    codes_BM: Tensor, source_BM: Tensor, edit_B: Tensor, generator: torch.Generator
) -> Tensor:
    """The codes, of some edits with all or a share of the source picture's in their place: int64 (B, M).

    Of the samples that `edit_B` marks, a quarter reads the source alone, and a quarter a share of it from 0 to 1.
    """
    of_edits_B1, share_B1, place_BM = (
        torch.rand(*shape, generator=generator)
        for shape in ((len(codes_BM), 1), (len(codes_BM), 1), codes_BM.shape)
    )
    share_B1 = torch.where(of_edits_B1 < HIDDEN / 2, 1.0, share_B1)
    hidden_BM = (place_BM < share_B1) & (of_edits_B1 < HIDDEN)
    hidden_BM = hidden_BM.to(codes_BM.device) & edit_B.unsqueeze(1).to(codes_BM.device)
    return torch.where(hidden_BM, source_BM, codes_BM)


def _mixed(
    codes_BM: Tensor, others_BM: Tensor, average: float, generator: torch.Generator
) -> Tensor:
    share_B1 = 2 * average * torch.rand(len(codes_BM), 1, generator=generator)
    other_BM = torch.rand(codes_BM.shape, generator=generator) < share_B1
    return torch.where(other_BM.to(codes_BM.device), others_BM, codes_BM)
