"""EditAR's sampler: exact, and several codes a pass by guessing ahead.

Every code is drawn by its own uniform number, so it is a fixed function of the codes before it. A
pass reads a window of codes of which the first is known and the others are guesses: those of the
source picture at the same places at first, what an earlier pass drew there later on. All are drawn
again at once. What was drawn from right guesses is right, up to and including the draw that shows
the first guess to be wrong. The codes are those of sampling one by one, whatever the guesses.

B pictures, G guidance halves, W window, N codes a picture, V codebook.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from models.editar.choosing import SamplerSettings, choose, guide, uniforms_for
from models.editar.decoding import Decoder
from models.editar.transformer import Transformer

__all__ = ["SamplerSettings", "sample", "uniforms_for"]

# A pass with a few rows costs hardly more than one with a single row, a pass with many does. Chosen
# among 1 to 16, for one picture and for sixteen, by time on one core of a busy machine.
WINDOW, LEAST_WINDOW = 8, 2

_Key = tuple[object, ...]
_DECODERS: WeakKeyDictionary[Transformer, tuple[_Key, Decoder]] = WeakKeyDictionary()


@torch.inference_mode()
def sample(
    model: Transformer,
    text: Tensor,
    condition_codes: Tensor,
    settings: SamplerSettings,
    uniforms_BN: Tensor | None = None,
) -> Tensor:
    """Make the codes of the target pictures: int64 (B, N), row-major. One call at a time a model.

    Args:
        model: in eval mode.
        text: encoder features (B, T, caption_dim).
        condition_codes: int64 (B, N), row-major.
        settings: guidance and filters.
        uniforms_BN: random numbers, one a code (`uniforms_for`); not needed when greedy.
    """
    if model.training:
        raise RuntimeError("sampling needs the model in eval mode")
    if uniforms_BN is None and not settings.greedy:
        raise ValueError("sampling that is not greedy needs uniforms; see uniforms_for")
    if uniforms_BN is None:
        uniforms_BN = torch.zeros(condition_codes.shape)
    uniforms_BN = uniforms_BN.to(text.device).double()
    decoder = decoder_for(model, len(text), 2 if settings.guidance > 1.0 else 1)

    # 1. Prefill; the last text slot predicts the first code.
    logits_BGV = decoder.prefill(text, condition_codes)
    codes_BN = first_guesses(condition_codes)
    codes_BN[:, 0] = choose(guide(logits_BGV, settings.guidance), settings, uniforms_BN[:, :1])

    # 2. Passes over windows that begin at each picture's last known code.
    count = codes_BN.shape[1]
    ahead_W = torch.arange(max(LEAST_WINDOW, WINDOW // len(text)), device=text.device)
    known_B1 = torch.ones_like(codes_BN[:, :1])
    least = most = 1
    while least < count:
        # The last code is never read; a window that would reach it does its neighbor again.
        places_BW = (known_B1 - 1 + ahead_W).clamp(max=count - 2)
        read_BW = codes_BN.gather(1, places_BW)
        length = decoder.filled(min(most - 1 + len(ahead_W), count - 1))
        logits_RGV = decoder.step(read_BW, places_BW, length).flatten(0, 1)
        uniforms_R1 = uniforms_BN.gather(1, places_BW + 1).view(-1, 1)
        drawn_R = choose(guide(logits_RGV, settings.guidance), settings, uniforms_R1)
        drawn_BW = drawn_R.view_as(read_BW)
        codes_BN.scatter_(1, places_BW + 1, drawn_BW)
        known_B1 = (known_B1 + 1 + right_guesses(read_BW, drawn_BW)).clamp(max=count)
        least, most = torch.stack(known_B1.aminmax()).tolist()
    return codes_BN.clone()


def first_guesses(condition_codes: Tensor) -> Tensor:
    """What the target's codes may be, int64 (B, N): the source's own, since an edit keeps most."""
    return condition_codes.clone()


def right_guesses(read_BW: Tensor, drawn_BW: Tensor) -> Tensor:
    """How many of the guesses that were read (all but the first) were drawn too: int64 (B, 1)."""
    return (read_BW[:, 1:] == drawn_BW[:, :-1]).cumprod(1).sum(1, keepdim=True)


def decoder_for(model: Transformer, batch: int, halves: int) -> Decoder:
    """The decoder of the model's last call if it fits, or else a new one."""
    weights = tuple(parameter.data_ptr() for parameter in model.parameters())
    key = (batch, halves, model.output.weight.dtype, model.output.weight.device, weights)
    found = _DECODERS.get(model)
    if found is None or found[0] != key:
        _DECODERS.pop(model, None)  # before the new one needs the room
        found = _DECODERS[model] = (key, Decoder(model, batch, halves))
    return found[1]
