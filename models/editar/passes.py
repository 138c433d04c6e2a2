"""A batch of pictures in the making: passes over windows of guesses, on a CPU and on a GPU.

Both run the same pass. A CPU looks after each one which pictures are finished, takes them out and reads no more of the
cache than is filled; a GPU replays the pass as it was captured, on the whole batch, and is seldom looked at.

B pictures, n of them unfinished, G guidance halves, W window, R = n·W rows, N codes a picture, A guesses behind a
window, X = N + A codes and room for guesses behind the last one, V codebook.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from models.editar.choosing import SamplerSettings, guide_early
from models.editar.decoding import Decoder
from models.editar.racing import head_starts, keys_of, race
from models.editar.replay import captured, repeat_until
from models.editar.transformer import Transformer

# A pass with a few rows costs hardly more than one with a single row, a pass with many does. On a CPU, chosen by time
# on one core of a busy machine: rows a pass, and the least and the most of one picture.
ROWS, LEAST_WINDOW, WINDOW = 192, 2, 16
# Tensor cores take 16 queries at once, guidance halves included: up to them a window comes for nothing on a GPU.
GPU_QUERIES = 16
# Up to so many head starts a picture are made beforehand on a CPU: a place is drawn several times.
BEFOREHAND = 2**20


class Passes:
    """The codes of a batch, in tensors that stay where they are, and the decoder that reads them."""

    def __init__(self, decoder: Decoder, model: Transformer, settings: SamplerSettings) -> None:
        c, device = model.config, model.output.weight.device
        self.decoder, self.settings, self.device = decoder, settings, device
        self.count, self.codebook = c.block_size, c.vocab_size
        self.steps = torch.arange(max(GPU_QUERIES, WINDOW), device=device)
        batch, room = decoder.batch, c.block_size + len(self.steps)
        self.codes_BX = torch.zeros(batch, room, dtype=torch.int64, device=device)
        self.source_BX = torch.zeros_like(self.codes_BX)
        self.known_B1 = torch.ones_like(self.codes_BX[:, :1])
        self.least = self.known_B1.amin()
        self.keys_BN = torch.zeros_like(self.codes_BX[:, : self.count], dtype=torch.int32)
        self.ahead_BNV: Tensor | None = None
        self.pictures_B1 = torch.arange(batch, device=device)[:, None]
        self.unfinished = batch
        self.replay: Callable[[], None] | None = None

    def start(
        self,
        text: Tensor,
        condition_codes: Tensor,
        uniforms_BN: Tensor,
        drop_image_B: Tensor | None = None,
    ) -> None:
        """Prefill; the last text slot predicts the first code."""
        self.unfinished = len(text)
        self.source_BX[:, : self.count] = condition_codes
        self.codes_BX[:, : self.count] = first_guesses(condition_codes)
        self.keys_BN.copy_(keys_of(uniforms_BN.to(self.device)))
        if self.device.type == "cpu" and self.count * self.codebook <= BEFOREHAND:
            self.ahead_BNV = head_starts(self.keys_BN, self.codebook)
        logits_BGV = self.decoder.prefill(text, condition_codes, drop_image_B)
        first_B1 = torch.zeros_like(self.known_B1)
        self._put(first_B1, self._draw(logits_BGV, first_B1))
        self.known_B1.fill_(1)

    def finish(self) -> Tensor:
        """Passes until every code is known: int64 (B, N)."""
        if self.device.type == "cuda":
            return self.finish_blindly()
        made_BN = torch.empty_like(self.codes_BX[:, : self.count])
        places = list(range(len(made_BN)))  # of the unfinished pictures in the batch
        known = [1] * len(places)
        while self._take_out(places, known, made_BN):
            n = self.unfinished
            window = min(WINDOW, max(LEAST_WINDOW, ROWS // n))
            read = min(max(known) - 1 + window, self.count - 1)
            self.advance(window, self.decoder.layout.filled(read))
            known = self.known_B1[:n, 0].tolist()
        return made_BN

    def finish_blindly(self) -> Tensor:
        """The same by passes that are captured once and know nothing of how far the pictures are."""
        if self.replay is None:
            self.replay = captured(self.advance_blindly)
        if self.count > 1:
            repeat_until(self.replay, self.least, self.count)
        return self.codes_BX[:, : self.count].clone()

    def advance_blindly(self) -> None:
        """One pass of the whole batch that leaves behind in `least` how far the last picture is."""
        self.advance(GPU_QUERIES // self.decoder.halves, self.decoder.layout.length)
        torch.amin(self.known_B1, (0, 1), out=self.least)

    def advance(self, window: int, length: int) -> None:
        """One pass over windows that begin at each picture's last known code; waits for nothing.

        Args:
            window: W.
            length: at least the cache slots that are filled afterwards.
        """
        known_B1, codes_BX = self.known_B1[: self.unfinished], self.codes_BX[: self.unfinished]
        # The last code is never read; a window that would reach it does its neighbor again.
        places_BW = (known_B1 - 1 + self.steps[:window]).clamp(max=self.count - 2)
        read_BW = codes_BX.gather(1, places_BW)
        logits_RGV = self.decoder.step(read_BW, places_BW, length).flatten(0, 1)
        drawn_BW = self._draw(logits_RGV, places_BW + 1)
        self._put(places_BW + 1, drawn_BW)
        known_B1.add_(1 + right_guesses(read_BW, drawn_BW)).clamp_(max=self.count)

    def _draw(self, logits_RGV: Tensor, places_BW: Tensor) -> Tensor:
        """The codes that follow, at given places: int64 (n, W)."""
        settings, keys_BN = self.settings, self.keys_BN[: self.unfinished]
        plain = not settings.greedy and settings.top_p >= 1.0 and settings.cfg_interval < 0
        if self.decoder.fused and plain:
            from models.editar.kernels import racing

            keys_R = keys_BN.gather(1, places_BW).flatten()
            return racing.race(logits_RGV, keys_R, settings).view_as(places_BW)
        if self.ahead_BNV is not None:
            ahead_RV = self.ahead_BNV[self.pictures_B1[: self.unfinished], places_BW].flatten(0, 1)
        else:
            ahead_RV = head_starts(keys_BN.gather(1, places_BW).flatten(), self.codebook)
        guided_RV = guide_early(logits_RGV.float(), settings, places_BW.flatten())
        return race(guided_RV, ahead_RV, settings).view_as(places_BW)

    def _put(self, places_BW: Tensor, drawn_BW: Tensor) -> None:
        """Store what was drawn, and guess what comes behind it."""
        n, last_B1 = self.unfinished, places_BW[:, -1:]
        behind_BA = last_B1 + 1 + self.steps
        guesses_BA = guesses_behind(self.source_BX[:n], last_B1, behind_BA, drawn_BW[:, -1:])
        self.codes_BX[:n].scatter_(1, behind_BA, guesses_BA)
        self.codes_BX[:n].scatter_(1, places_BW, drawn_BW)

    def _take_out(self, places: list[int], known: list[int], made_BN: Tensor) -> bool:
        """Hand over the pictures that are finished, close the gaps; whether any are left."""
        for i in reversed(range(self.unfinished)):
            if known[i] < self.count:
                continue
            made_BN[places[i]] = self.codes_BX[i, : self.count]
            self.unfinished -= 1
            places[i] = places[self.unfinished]
            if i < self.unfinished:
                self._move(self.unfinished, i)
        if self.unfinished < len(known):
            self.decoder.narrow(self.unfinished)
        return self.unfinished > 0

    def _move(self, source: int, target: int) -> None:
        self.decoder.move(source, target)
        for state in (self.codes_BX, self.source_BX, self.known_B1, self.keys_BN, self.ahead_BNV):
            if state is not None:
                state[target] = state[source]


def first_guesses(source_BN: Tensor) -> Tensor:
    """What the target's codes may be before anything is drawn: the source's own."""
    return source_BN


def guesses_behind(
    source_BX: Tensor, last_B1: Tensor, behind_BA: Tensor, drawn_B1: Tensor
) -> Tensor:
    """What may come behind the last code that was drawn: the source's codes if it is the source's, else it again."""
    kept_B1 = drawn_B1 == source_BX.gather(1, last_B1)
    return torch.where(kept_B1, source_BX.gather(1, behind_BA), drawn_B1)


def right_guesses(read_BW: Tensor, drawn_BW: Tensor) -> Tensor:
    """How many of the guesses that were read (all but the first) were drawn too: int64 (B, 1)."""
    return (read_BW[:, 1:] == drawn_BW[:, :-1]).cumprod(1).sum(1, keepdim=True)
