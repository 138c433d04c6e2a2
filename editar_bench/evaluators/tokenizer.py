"""The SentencePiece tokenizer of the CLIP: ids of a text, an end mark, padding.

Legend: B texts, T slots.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

PAD, END = 0, 1  # as T5 has them


class SceneTokenizer:
    """Raw strings to ids; no cleaning, padding on the right."""

    def __init__(self, model: bytes, slots: int) -> None:
        import sentencepiece

        self.model = model
        self.slots = slots
        self._pieces = sentencepiece.SentencePieceProcessor(model_proto=model)

    @property
    def vocab_size(self) -> int:
        """How many ids there are."""
        return int(self._pieces.get_piece_size())

    def token_count(self, text: str) -> int:
        """Slots that a text takes, its end mark included; more than `slots` would be cut."""
        return len(self._pieces.encode(text)) + 1

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Ids (B, T), int64; a text that is too long is cut before its end mark."""
        ids_BT = torch.full((len(texts), self.slots), PAD, dtype=torch.int64)
        for row, text in enumerate(texts):
            ids = [*self._pieces.encode(text)[: self.slots - 1], END]
            ids_BT[row, : len(ids)] = torch.tensor(ids)
        return ids_BT
