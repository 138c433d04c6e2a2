"""Recipe of the shared text encoder: a small T5 that learns what a caption or an instruction says.

The objective is neutral to every paradigm: from a caption, predict what stands in each cell, the ground, the
sky and the style; from an instruction, the kind of edit, the attribute, the new value and the object it
speaks of. The prediction heads are thrown away. Legend: B texts, T slots, C width, Q questions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data_prep.scenes.description import (
    COLORS,
    GROUNDS,
    MATERIALS,
    PATTERNS,
    SHAPES,
    SIZES,
    SKIES,
    STYLES,
)
from data_prep.scenes.edits import EDIT_TYPES
from editar_bench.types import Picture, Task
from models.editar.templates import prompt_for
from models.editar.text import TextEncoder, load_text_encoder, save_encoder, save_tokenizer
from models.training.bank import Bank
from models.training.data import pick
from models.training.recipe import Clock

SLOTS = (
    68  # text slots: the longest text of the grammar with its template fits (a test draws 10,000)
)
VOCABULARY = 256  # an upper bound: the grammar has some 130 words
WIDTH, LAYERS, HEADS, FEED_FORWARD = 128, 3, 4, 256
SCENE_TASKS = (Task.DEPTH, Task.EDGE, Task.SEGMENTATION)
_ATTRIBUTES = (
    "object",
    "shape",
    "pattern",
    "size",
    "rotation",
    "cell",
    "color",
    "material",
    "ground",
    "sky",
    "style",
)
_OBJECT = {
    "shape": list(SHAPES),
    "color": list(COLORS),
    "material": list(MATERIALS),
    "pattern": list(PATTERNS),
    "size": list(SIZES),
}
_CELLS = [(row, column) for row in range(3) for column in range(3)]
_VALUES = [
    "",
    *SHAPES,
    *COLORS,
    *MATERIALS,
    *PATTERNS,
    *SIZES,
    *GROUNDS,
    *SKIES,
    *STYLES,
    *(str(n) for n in range(-11, 12)),
]
_VALUES = list(dict.fromkeys(_VALUES))
_IGNORE = -100


def questions() -> dict[str, int]:
    """Name and number of answers of every question."""
    asked = {f"{cell}.{k}": 1 + len(v) for cell in _CELLS for k, v in _OBJECT.items()}
    asked |= {"ground": len(GROUNDS), "sky": len(SKIES), "style": len(STYLES)}
    asked |= {"type": len(EDIT_TYPES), "attribute": len(_ATTRIBUTES), "value": len(_VALUES)}
    asked |= {f"referent.{k}": len(v) for k, v in _OBJECT.items()}
    return (
        asked | {f"result.{k}": len(v) for k, v in _OBJECT.items()} | {"destination": 9, "cell": 9}
    )


def caption_answers(scene: dict[str, Any]) -> dict[str, int]:
    """Answers that a caption of the scene gives; 0 = nothing stands in the cell."""
    answers = {f"{cell}.{k}": 0 for cell in _CELLS for k in _OBJECT}
    for item in scene["objects"]:
        for k, words in _OBJECT.items():
            answers[f"{(item['row'], item['column'])}.{k}"] = 1 + words.index(item[k])
    return answers | {
        "ground": GROUNDS.index(scene["ground"]),
        "sky": SKIES.index(scene["sky"]),
        "style": STYLES.index(scene["style"]),
    }


def instruction_answers(record: dict[str, Any]) -> dict[str, int]:
    """Answers that an instruction is about; parts that the words leave out teach nothing but their frequency."""
    answers = {
        "type": EDIT_TYPES.index(record["category"]),
        "attribute": _ATTRIBUTES.index(record["attribute"]),
    }
    if record["value"] in _VALUES:
        answers["value"] = _VALUES.index(record["value"])
    for key in ("cell", "destination"):
        if record[key] is not None:
            answers[key] = _CELLS.index(tuple(record[key]))
    at = {(o["row"], o["column"]): o for o in record["scenes"][0]["objects"]}
    referent = at.get(tuple(record["cell"])) if record["cell"] is not None else None
    for prefix, item in (("referent", referent), ("result", record["result"])):
        if item is not None:
            answers |= {f"{prefix}.{k}": v.index(item[k]) for k, v in _OBJECT.items()}
    return answers


class _Questioned(nn.Module):
    """The encoder with two readers that answer every question.

    One reads by attention, as models that cross-attend do; one reads the plain mean over all slots, padding included,
    which is how EditAR's text keys of zero read.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.asked = questions()
        self.query_QC = nn.Parameter(torch.randn(len(self.asked), WIDTH) / WIDTH**0.5)
        self.key = nn.Linear(WIDTH, WIDTH)
        self.hidden = nn.Linear(WIDTH, WIDTH)
        self.heads = nn.ModuleList(nn.Linear(WIDTH, n) for n in self.asked.values())
        self.mean_reader = nn.Sequential(
            nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, sum(self.asked.values()))
        )

    def forward(self, ids_BT: Tensor, mask_BT: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Logits (B, answers) of every question, by attention and from the mean."""
        features_BTC = self.encoder(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state
        scores_BQT = torch.einsum("qc,btc->bqt", self.query_QC, self.key(features_BTC))
        scores_BQT = scores_BQT.masked_fill(mask_BT[:, None] == 0, -torch.inf)
        pooled_BQC = F.gelu(self.hidden(scores_BQT.softmax(-1) @ features_BTC))
        attended = [head(pooled_BQC[:, i]) for i, head in enumerate(self.heads)]
        averaged = self.mean_reader(features_BTC.mean(1)).split(list(self.asked.values()), -1)
        return attended, list(averaged)


class TextRecipe:
    """Trains the T5 encoder on the generators' stream."""

    name = "text"
    muon = False  # T5 does not scale its attention: with Muon captions were learned half as well

    def __init__(self, train: Bank, validation: Bank, tokenizer: bytes, folder: Path) -> None:
        self.train, self.validation = train, validation
        self.tokenizer_model = tokenizer
        self.learning_rate, self.batch_size = 2e-3, 64
        self.settings: dict[str, Any] = {"slots": SLOTS, "width": WIDTH, "layers": LAYERS}
        save_tokenizer(folder, tokenizer, SLOTS)
        from transformers import T5Tokenizer

        self.tokenizer = TextEncoder(
            nn.Identity(), T5Tokenizer.from_pretrained(str(folder), local_files_only=True), SLOTS
        )

    def build(self) -> nn.Module:
        """A fresh T5 encoder under its questions."""
        from transformers import T5Config, T5EncoderModel

        config = T5Config(
            vocab_size=VOCABULARY,
            d_model=WIDTH,
            d_kv=WIDTH // HEADS,
            d_ff=FEED_FORWARD,
            num_layers=LAYERS,
            num_heads=HEADS,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
        )
        return _Questioned(T5EncoderModel(config))

    def loss(
        self, module: _Questioned, clock: Clock, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Mean cross-entropy over the questions that a text answers."""
        texts, answers = self._batch(self.train, pick(len(self.train), self.batch_size, generator))
        losses = self._losses(module, texts, answers)
        return torch.stack(losses).mean(), {}

    def _batch(self, bank: Bank, edits: Any) -> tuple[list[str], list[dict[str, int]]]:
        """Instructions for every other edit, captions (with a task's template) for the rest."""
        texts, answers = [], []
        for n, index in enumerate(edits):
            record = bank.texts[int(index)]
            if n % 2:
                texts.append(record["instruction"])
                answers.append(instruction_answers(record))
                continue
            side = (n // 2) % 2
            text = record["captions"][side]
            task = SCENE_TASKS[(n // 4) % 3]
            texts.append(prompt_for(task, text) if n % 8 else text)
            answers.append(caption_answers(record["scenes"][side]))
        return texts, answers

    def _losses(
        self, module: _Questioned, texts: list[str], answers: list[dict[str, int]]
    ) -> list[Tensor]:
        device = module.query_QC.device
        ids, mask = (t.to(device) for t in self.tokenizer.tokenize(texts))
        losses = []
        for name, *readings in zip(module.asked, *module(ids, mask), strict=True):
            truth = torch.tensor([a.get(name, _IGNORE) for a in answers], device=device)
            if (truth != _IGNORE).any():
                losses += [
                    F.cross_entropy(logits, truth, ignore_index=_IGNORE) for logits in readings
                ]
        return losses

    def validate(self, module: _Questioned) -> dict[str, float]:
        """Share of right answers per group of questions, by attention and from the mean."""
        texts, answers = self._batch(self.validation, range(len(self.validation)))
        device = module.query_QC.device
        ids, mask = (t.to(device) for t in self.tokenizer.tokenize(texts))
        figures: dict[str, float] = {}
        for reader, answered in zip(("attention", "mean"), module(ids, mask), strict=True):
            groups: dict[str, list[float]] = {"cells": [], "type": [], "attribute": [], "value": []}
            for name, logits in zip(module.asked, answered, strict=True):
                group = "cells" if name.startswith("(") else name
                if group in groups:
                    guess = logits.argmax(-1).tolist()
                    known = [(g, a[name]) for g, a in zip(guess, answers, strict=True) if name in a]
                    # An empty cell is easy and frequent: only occupied ones count.
                    groups[group] += [float(g == a) for g, a in known if a or group != "cells"]
            figures |= {f"{k}_{reader}": sum(v) / max(1, len(v)) for k, v in groups.items()}
        return figures

    def sheet(self, module: nn.Module) -> Picture | None:
        """Nothing to look at."""
        return None

    def load(self, module: _Questioned, folder: Path) -> None:
        """Continue the encoder; the questions start afresh."""
        module.encoder.load_state_dict(load_text_encoder(folder).encoder.state_dict())

    def export(self, module: _Questioned, folder: Path) -> None:
        """The encoder alone, with its tokenizer."""
        save_tokenizer(folder, self.tokenizer_model, SLOTS)
        save_encoder(folder, module.encoder)
