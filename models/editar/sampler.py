"""EditAR's sampler: exact, and several codes a pass by guessing ahead.

Every code is the winner of a race whose arrival times are fixed numbers (`models.editar.racing`), so it is a fixed
function of the codes before it. A pass reads a window of codes of which the first is known and the others are guesses,
and draws anew what follows each, all at once. What was drawn from right guesses is right, up to and including the draw
that shows the first guess to be wrong. The codes are those of sampling one by one, whatever the guesses.

Guesses are what earlier passes drew at the same places; before that the source picture's code there, since an edit
keeps most of them, or, where the code above is not the source's, that code once more.

B pictures, G guidance halves, W window, R = B·W rows, N codes a picture, V codebook.
"""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from models.editar.choosing import SamplerSettings, guide, uniforms_for
from models.editar.decoding import Decoder
from models.editar.precision import Precision
from models.editar.racing import head_starts, keys_of, race
from models.editar.replay import captured, repeat_until
from models.editar.transformer import Transformer

__all__ = ["Precision", "SamplerSettings", "sample", "uniforms_for"]

# A pass with a few rows costs hardly more than one with a single row, a pass with many does. On a CPU, chosen among 1
# to 16, for one picture and for sixteen, by time on one core of a busy machine.
WINDOW, LEAST_WINDOW = 8, 2
# On a GPU the rows of a window come for nothing up to the 16 queries that tensor cores take at once.
GPU_WINDOW = 8
# Up to so many head starts a picture are made beforehand on a CPU: a place is drawn several times.
BEFOREHAND = 2**20

_Key = tuple[object, ...]
_KEPT: WeakKeyDictionary[Transformer, tuple[_Key, Passes]] = WeakKeyDictionary()


@torch.inference_mode()
def sample(
    model: Transformer,
    text: Tensor,
    condition_codes: Tensor,
    settings: SamplerSettings,
    uniforms_BN: Tensor | None = None,
    precision: Precision | None = None,
) -> Tensor:
    """Make the codes of the target pictures: int64 (B, N), row-major. One call at a time a model.

    Args:
        model: in eval mode.
        text: encoder features (B, T, caption_dim).
        condition_codes: int64 (B, N), row-major.
        settings: guidance and filters.
        uniforms_BN: random numbers, one a code (`uniforms_for`); not needed when greedy.
        precision: of weights and cache; by default the model's own.
    """
    if model.training:
        raise RuntimeError("sampling needs the model in eval mode")
    if uniforms_BN is None and not settings.greedy:
        raise ValueError("sampling that is not greedy needs uniforms; see uniforms_for")
    if uniforms_BN is None:
        uniforms_BN = torch.zeros(condition_codes.shape)
    passes = passes_for(model, len(text), settings, precision or Precision())
    passes.start(text, condition_codes, uniforms_BN)
    passes.finish()
    return passes.codes_BX[:, : passes.count].clone()


class Passes:
    """A batch in the making: a decoder, and the codes in tensors that stay where they are."""

    def __init__(
        self, decoder: Decoder, model: Transformer, settings: SamplerSettings, window: int
    ) -> None:
        c, like = model.config, model.tok_embeddings.weight
        self.decoder, self.settings = decoder, settings
        self.count, self.side, self.codebook = c.block_size, c.side, c.vocab_size
        batch, wide = decoder.batch, c.block_size + c.side  # room for guesses below the last row
        self.codes_BX = torch.zeros(batch, wide, dtype=torch.int64, device=like.device)
        self.source_BX = torch.zeros_like(self.codes_BX)
        self.known_B1 = torch.ones_like(self.codes_BX[:, :1])
        self.least = self.known_B1.amin()
        self.keys_BN = torch.zeros_like(self.codes_BX[:, : self.count])
        self.pictures_B1 = torch.arange(batch, device=like.device)[:, None]
        self.ahead_BNV: Tensor | None = None  # of the whole batch, where that saves time
        self.ahead_W = torch.arange(min(window, self.count), device=like.device)
        self.replay: Callable[[], None] | None = None

    def start(self, text: Tensor, condition_codes: Tensor, uniforms_BN: Tensor) -> None:
        """Prefill; the last text slot predicts the first code."""
        self.source_BX[:, : self.count] = condition_codes
        self.codes_BX[:, : self.count] = first_guesses(condition_codes)
        self.keys_BN.copy_(keys_of(uniforms_BN.to(self.keys_BN.device)))
        if not self.codes_BX.is_cuda and self.count * self.codebook <= BEFOREHAND:
            self.ahead_BNV = head_starts(self.keys_BN, self.codebook)
        logits_BGV = self.decoder.prefill(text, condition_codes)
        self._put(torch.zeros_like(self.known_B1), self._draw(logits_BGV, self.known_B1 * 0))
        self.known_B1.fill_(1)

    def finish(self) -> None:
        """Passes until every code of every picture is known."""
        if self.count == 1:
            return
        if self.codes_BX.is_cuda:
            self.finish_on_gpu()
            return
        least = most = 1
        while least < self.count:
            length = self.decoder.layout.filled(min(most - 1 + len(self.ahead_W), self.count - 1))
            self.advance(length)
            least, most = torch.stack(self.known_B1.aminmax()).tolist()

    def advance(self, length: int) -> None:
        """One pass over windows that begin at each picture's last known code; waits for nothing.

        Args:
            length: at least the cache slots that are filled afterwards.
        """
        # The last code is never read; a window that would reach it does its neighbor again.
        places_BW = (self.known_B1 - 1 + self.ahead_W).clamp(max=self.count - 2)
        read_BW = self.codes_BX.gather(1, places_BW)
        logits_RGV = self.decoder.step(read_BW, places_BW, length).flatten(0, 1)
        drawn_BW = self._draw(logits_RGV, places_BW + 1)
        self._put(places_BW + 1, drawn_BW)
        self.known_B1.add_(1 + right_guesses(read_BW, drawn_BW)).clamp_(max=self.count)

    def finish_on_gpu(self) -> None:
        if self.replay is None:
            self.replay = captured(self.advance_blindly)
        repeat_until(self.replay, self.least, self.count)

    def advance_blindly(self) -> None:
        """One pass that knows nothing of how far the pictures are, and leaves that behind in `least`."""
        self.advance(self.decoder.layout.length)
        torch.amin(self.known_B1, (0, 1), out=self.least)

    def _draw(self, logits_RGV: Tensor, places_BW: Tensor) -> Tensor:
        """The codes that follow, at given places: int64 (B, W)."""
        settings = self.settings
        if self.decoder.fused and not settings.greedy and settings.top_p >= 1.0:
            from models.editar.kernels import racing

            keys_R = self.keys_BN.gather(1, places_BW).flatten()
            return racing.race(logits_RGV, keys_R, settings).view_as(places_BW)
        if self.ahead_BNV is not None:
            ahead_RV = self.ahead_BNV[self.pictures_B1, places_BW].flatten(0, 1)
        else:
            keys_R = self.keys_BN.gather(1, places_BW).flatten()
            ahead_RV = head_starts(keys_R, self.codebook)
        guided_RV = guide(logits_RGV.float(), settings.guidance)
        return race(guided_RV, ahead_RV, settings).view_as(places_BW)

    def _put(self, places_BW: Tensor, drawn_BW: Tensor) -> None:
        """Store what was drawn, and guess what is below it."""
        below_BW = places_BW + self.side
        self.codes_BX.scatter_(
            1, below_BW, guesses_below(self.source_BX, places_BW, below_BW, drawn_BW)
        )
        self.codes_BX.scatter_(1, places_BW, drawn_BW)  # last: a window may be wider than a row


def first_guesses(source_BN: Tensor) -> Tensor:
    """What the target's codes may be before anything is drawn: the source's own."""
    return source_BN


def guesses_below(
    source_BX: Tensor, places_BW: Tensor, below_BW: Tensor, drawn_BW: Tensor
) -> Tensor:
    """What may be below the codes that were drawn: the source's code if they are its own, else they once more."""
    kept_BW = drawn_BW == source_BX.gather(1, places_BW)
    return torch.where(kept_BW, source_BX.gather(1, below_BW), drawn_BW)


def right_guesses(read_BW: Tensor, drawn_BW: Tensor) -> Tensor:
    """How many of the guesses that were read (all but the first) were drawn too: int64 (B, 1)."""
    return (read_BW[:, 1:] == drawn_BW[:, :-1]).cumprod(1).sum(1, keepdim=True)


def passes_for(
    model: Transformer, batch: int, settings: SamplerSettings, precision: Precision
) -> Passes:
    """What the model's last call left behind if it fits, or else anew."""
    weights = tuple(p.data_ptr() for p in model.parameters())
    if precision.weights != "full":  # copies, which a change in place leaves behind
        weights += tuple(0 if p.is_inference() else p._version for p in model.parameters())
    like = model.output.weight
    window = GPU_WINDOW if like.is_cuda else max(LEAST_WINDOW, WINDOW // batch)
    key = (batch, settings, precision, window, like.dtype, like.device, weights)
    found = _KEPT.get(model)
    if found is None or found[0] != key:
        _KEPT.pop(model, None)  # before the new one needs the room
        decoder = Decoder(model, batch, 2 if settings.guidance > 1.0 else 1, precision)
        found = _KEPT[model] = (key, Passes(decoder, model, settings, window))
    return found[1]
