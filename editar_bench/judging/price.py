"""What a judgement would cost, before anything is sent.

An estimate: four characters a token, pictures by OpenAI's published rule for tiles of 512 pixels, short answers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from editar_bench.judging.forms import SYSTEM, Question

_ANSWER = 80  # tokens of a reply: the scores and a sentence
_PICTURE, _TILE = 85, 170  # tokens, and more for each tile
_SIDE, _LONG, _SHORT = 512, 2048, 768  # pixels: of a tile, and what pictures are shrunk to


@dataclass(frozen=True, slots=True)
class Estimate:
    """Calls and tokens, and the price where the prices of a million tokens are known."""

    calls: int
    tokens_in: int
    tokens_out: int

    def dollars(self, price_in: float, price_out: float) -> float:
        """At these dollars a million tokens."""
        return (self.tokens_in * price_in + self.tokens_out * price_out) / 1e6


def estimate(calls: Iterable[tuple[Question, str, Sequence[tuple[int, int]]]]) -> Estimate:
    """Of (question, instruction, (height, width) of every picture that goes with it)."""
    count = tokens = 0
    for question, instruction, sizes in calls:
        count += 1
        tokens += math.ceil((len(SYSTEM) + len(question.text) + len(instruction)) / 4)
        tokens += sum(picture_tokens(*size) for size in sizes)
    return Estimate(count, tokens, count * _ANSWER)


def picture_tokens(height: int, width: int) -> int:
    """Of one picture."""
    scale = min(1.0, _LONG / max(height, width))
    scale = min(scale, _SHORT / min(height, width))
    tiles = math.ceil(height * scale / _SIDE) * math.ceil(width * scale / _SIDE)
    return _PICTURE + _TILE * tiles
