"""What every generator of codes trains on: texts, condition codes and target codes of the four tasks.

Pictures are coded by the frozen codec the first time a batch needs them and kept; text features are made
anew, which costs next to nothing. Legend: B batch, N codes of a condition, M codes of a target.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_prep.scenes.masks import MIN_CHANGED, TOLERANCE
from editar_bench.types import Picture, Task
from models.editar.checkpoint import load_codec
from models.editar.choosing import SamplerSettings
from models.editar.codec import Codec
from models.editar.config import TransformerConfig
from models.editar.pictures import to_pictures
from models.editar.templates import prompt_for
from models.editar.text import TextEncoder, load_text_encoder
from models.training.bank import Bank
from models.training.data import condition, grid, pick, rgb
from models.weights_manifest import partners

SHARES = {Task.EDIT: 0.55, Task.DEPTH: 0.15, Task.EDGE: 0.15, Task.SEGMENTATION: 0.15}  # published
TASKS = tuple(SHARES)
SHEET = SamplerSettings(guidance=3.0, top_k=100)  # of what a sheet shows, code by code
Target = Literal["rgb", "pyramid"]
_VALIDATION_EDITS = 64
_SHOWN = 8  # samples of a task on a sheet


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Samples to train on or to be judged by, their codes on the stream's device."""

    texts: list[str]
    condition_BN: Tensor  # int64
    target_BM: Tensor  # int64; all scales of a pyramid, coarse to fine
    rows: NDArray[np.int64]  # where the target pictures stand in the bank
    tasks: list[Task]

    @property
    def edit_B(self) -> Tensor:
        """Bool, on the CPU: whose condition is the source picture of an edit."""
        return torch.tensor([task is Task.EDIT for task in self.tasks], dtype=torch.bool)

    def __len__(self) -> int:
        return len(self.texts)


class CodeCache:
    """Codes of a bank's pictures and condition pictures, made when first asked for."""

    def __init__(self, bank: Bank, codec: Codec) -> None:
        self.bank, self.codec = bank, codec
        self._codes: dict[str, Tensor] = {}

    def __call__(self, kind: str, rows: NDArray[np.int64]) -> Tensor:
        """Codes int64 (B, N) of "rgb", "depth", "edge" or "segmentation" pictures, or of "pyramid"s of rgb ones."""
        if (
            kind not in self._codes
        ):  # the table is as large as the bank: made once, not at every call
            self._codes[kind] = torch.full(
                (2 * len(self.bank), self._slots(kind)), -1, dtype=torch.int16
            )
        table = self._codes[kind]
        index = torch.from_numpy(rows)
        new = np.unique(rows[(table[index, 0] < 0).numpy()])
        if len(new):
            table[torch.from_numpy(new)] = self._encode(kind, new).cpu().to(torch.int16)
        return table[index].long()

    def _slots(self, kind: str) -> int:
        config = self.codec.config
        if kind == "pyramid":
            assert config.multiscale is not None, "only a codec with a pyramid has codes of one"
            return sum(side**2 for side in config.multiscale)
        return config.grid**2

    def _encode(self, kind: str, rows: NDArray[np.int64]) -> Tensor:
        plain = kind in ("rgb", "pyramid")
        images = rgb(self.bank, rows) if plain else condition(self.bank, kind, rows)
        images = images.to(next(self.codec.parameters()).device)
        # Never in bf16: rounding flips codes, and inference codes in float32.
        with torch.autocast(images.device.type, enabled=False):
            if kind == "pyramid":
                return torch.cat(self.codec.encode_multiscale(images), 1)
            return self.codec.encode(images)


class TokenStream:
    """Random batches of the training bank, and the fixed samples of the validation bank.

    `target` says what the target pictures are coded as: plain codes ("rgb") or a "pyramid"; `shares` how often each
    task is trained, the published way if it is not said.
    """

    def __init__(
        self,
        train: Bank,
        validation: Bank,
        weights_root: Path,
        slots: int,
        *,
        target: Target = "rgb",
        shares: Mapping[Task, float] = SHARES,
        device: str = "cpu",
    ) -> None:
        self.train, self.target, self.device, self.shares = train, target, device, shares
        self.codec, self.text = _frozen(weights_root, device, slots)
        self.partners = partners(weights_root)
        # What a generator's config.json says of the networks beside it.
        self.ties = {"codec": "../codec", "text": "../text", **self.partners}
        self._train_codes = CodeCache(train, self.codec)
        self._validation_codes = CodeCache(validation, self.codec)
        self._edits = visible_edits(train)
        self._validation_rows = 2 * visible_edits(validation)[:_VALIDATION_EDITS] + 1

    def batch(
        self, size: int, generator: torch.Generator, shares: Mapping[Task, float] | None = None
    ) -> TokenBatch:
        """Random samples, their tasks drawn with the stream's shares or with others."""
        weights = torch.tensor([(shares or self.shares).get(task, 0.0) for task in TASKS])
        drawn = torch.multinomial(weights, size, True, generator=generator).numpy()
        counts = np.bincount(drawn, minlength=len(TASKS))
        parts = [
            self._samples(task, self._pick(task, int(n), generator), self._train_codes)
            for task, n in zip(TASKS, counts, strict=True)
        ]
        return TokenBatch(
            [text for part in parts for text in part.texts],
            torch.cat([part.condition_BN for part in parts]),
            torch.cat([part.target_BM for part in parts]),
            np.concatenate([part.rows for part in parts]),
            [task for part in parts for task in part.tasks],
        )

    def validation(self, task: Task, first: int = _VALIDATION_EDITS) -> TokenBatch:
        """The same edited pictures as targets for every task, so that tasks can be compared."""
        return self._samples(task, self._validation_rows[:first], self._validation_codes)

    def entropies(self, entropy: Callable[[TokenBatch], Tensor]) -> dict[str, float]:
        """A model's mean cross-entropy of a batch, by task, on the validation split."""
        return {f"entropy_{task.value}": float(entropy(self.validation(task))) for task in TASKS}

    def sheet(self, generate: Callable[[TokenBatch], Tensor]) -> Picture:
        """Per task a line of conditions, one of what `generate` makes (codes int64 (B, M)), one of truths."""
        lines = []
        for task in TASKS:
            batch = self._samples(task, self._validation_rows[:_SHOWN], self._validation_codes)
            lines.append(to_pictures(self.codec.decode(batch.condition_BN)))
            for codes_BM in (generate(batch), batch.target_BM):
                lines.append(to_pictures(self.decode(codes_BM)))
        return grid(lines)

    def write_config(self, folder: Path, config: TransformerConfig) -> None:
        """What a trained generator is, and which codec and text encoder it was trained beside."""
        written = {"transformer": asdict(config), **self.ties}
        (folder / "config.json").write_text(json.dumps(written, indent=1) + "\n")

    def decode(self, target_BM: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) of target codes."""
        if self.target == "rgb":
            return self.codec.decode(target_BM)
        sides = self.codec.config.multiscale or ()
        return self.codec.decode_multiscale(target_BM.split([side**2 for side in sides], 1))

    def _pick(self, task: Task, n: int, generator: torch.Generator) -> NDArray[np.int64]:
        if task is Task.EDIT:
            return 2 * self._edits[pick(len(self._edits), n, generator)] + 1
        return pick(2 * len(self.train), n, generator)

    def _samples(self, task: Task, rows: NDArray[np.int64], codes: CodeCache) -> TokenBatch:
        """Samples of a task with the pictures `rows` as targets."""
        records = [codes.bank.texts[row // 2] for row in rows]
        if task is Task.EDIT:
            words = [record["instruction"] for record in records]
            condition_BN = codes("rgb", rows - 1)
        else:
            words = [r["captions"][row % 2] for r, row in zip(records, rows, strict=True)]
            condition_BN = codes(task.value, rows)
        texts = [prompt_for(task, text) for text in words]
        target_BM = codes(self.target, rows)
        tasks = [task] * len(rows)
        return TokenBatch(
            texts, condition_BN.to(self.device), target_BM.to(self.device), rows, tasks
        )


def visible_edits(bank: Bank) -> NDArray[np.int64]:
    """Edits that change enough pixels to be seen: the rule of the test split, for training."""
    keep = []
    for start in range(0, len(bank), 512):
        pair = bank.maps["rgb"][2 * start : 2 * (start + 512)].astype(np.int16)
        changed = (np.abs(pair[0::2] - pair[1::2]) > TOLERANCE).any(-1).sum((1, 2))
        keep.append(start + np.flatnonzero(changed >= MIN_CHANGED))
    return np.concatenate(keep)


def _frozen(root: Path, device: str, slots: int) -> tuple[Codec, TextEncoder]:
    config = json.loads((root / "codec" / "config.json").read_text())["vq"]
    codec = load_codec(root / "codec" / "codec.safetensors", config)
    text = load_text_encoder(root / "text", slots)
    return codec.to(device).requires_grad_(False), text.to(device)
