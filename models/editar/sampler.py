"""EditAR's sampler: exact, and several codes a pass by guessing ahead.

Every code is the winner of a race whose arrival times are fixed numbers (`models.editar.racing`), so it is a fixed
function of the codes before it. A pass (`models.editar.passes`) reads a window of codes of which the first is known
and the others are guesses, and draws anew what follows each, all at once. What was drawn from right guesses is right,
up to and including the draw that shows the first guess to be wrong. The codes are those of sampling one by one,
whatever the guesses.

Guesses are what earlier passes drew at the same places; before that the source picture's codes there, since an edit
keeps most of them, or, where the last code drawn is not the source's, that code again.

B pictures, N codes a picture.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from models.editar import passes
from models.editar.choosing import SamplerSettings, uniforms_for
from models.editar.decoding import Decoder, copies
from models.editar.inputs import check_codes, check_text
from models.editar.precision import Precision
from models.editar.transformer import Transformer

__all__ = ["Precision", "SamplerSettings", "sample", "uniforms_for"]

_Key = tuple[object, ...]
_KEPT: WeakKeyDictionary[Transformer, tuple[_Key, passes.Passes]] = WeakKeyDictionary()


@torch.inference_mode()
def sample(
    model: Transformer,
    text: Tensor,
    condition_codes: Tensor,
    settings: SamplerSettings,
    uniforms_BN: Tensor | None = None,
    precision: Precision | None = None,
    drop_image_B: Tensor | None = None,
) -> Tensor:
    """Make the codes of the target pictures: int64 (B, N), row-major. One call at a time a model.

    Args:
        model: in eval mode.
        text: encoder features (B, T, caption_dim).
        condition_codes: int64 (B, N), row-major.
        settings: guidance and filters.
        uniforms_BN: random numbers, one a code (`uniforms_for`); not needed when greedy.
        precision: of weights and cache; by default the model's own.
        drop_image_B: bool, where the null picture stands in for the condition (`mode` 0 of the published code).
    """
    if model.training:
        raise RuntimeError("sampling needs the model in eval mode")
    if uniforms_BN is None and not settings.greedy:
        raise ValueError("sampling that is not greedy needs uniforms; see uniforms_for")
    c = model.config
    text = check_text(text, c.cls_token_num, c.caption_dim)
    check_codes(condition_codes, "transformer", c.vocab_size, (len(text), c.block_size))
    if uniforms_BN is None:
        uniforms_BN = torch.zeros(condition_codes.shape)
    on_its_gpu = torch.cuda.device_of(condition_codes)  # streams, events and kernels are of that
    with (
        on_its_gpu,
        torch.autocast(condition_codes.device.type, enabled=False),
    ):  # weights say the type
        batch = passes_for(model, len(text), settings, precision or Precision())
        batch.start(text, condition_codes, uniforms_BN, drop_image_B)
        return batch.finish()


def passes_for(
    model: Transformer, batch: int, settings: SamplerSettings, precision: Precision
) -> passes.Passes:
    """What the model's last call left behind if it fits, or else anew."""
    weights = tuple(p.data_ptr() for p in model.parameters())
    if precision.weights != "full" or copies(model):  # which a change in place leaves behind
        weights += tuple(0 if p.is_inference() else p._version for p in model.parameters())
    if copies(
        model
    ):  # torch does not count changes of `.data`; so few weights are quickly added up
        weights += tuple(float(p.detach().sum(dtype=torch.float64)) for p in model.parameters())
    like = model.output.weight
    windows = (passes.WINDOW, passes.GPU_QUERIES)
    key = (batch, settings, precision, windows, like.dtype, like.device, weights)
    found = _KEPT.get(model)
    if found is None or found[0] != key:
        _KEPT.pop(model, None)  # before the new one needs the room
        decoder = Decoder(model, batch, 2 if settings.guidance > 1.0 else 1, precision)
        found = _KEPT[model] = (key, passes.Passes(decoder, model, settings))
    return found[1]
