"""Small examples and evaluators with random weights."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch

from editar_bench.evaluators.clip import SceneCLIP, clip_config
from editar_bench.evaluators.depth import DepthEstimator
from editar_bench.evaluators.judges import Judges
from editar_bench.evaluators.segmenter import Segmenter
from editar_bench.types import Example, Picture, Task
from models.editar.text import train_tokenizer

SIZE = 32


@lru_cache
def tokenizer_model() -> bytes:
    return train_tokenizer(["a red cube left of a blue ball on grass", "remove the cone"] * 5, 40)


def make_clip(size: int = SIZE) -> SceneCLIP:
    return SceneCLIP(clip_config(size), tokenizer_model()).eval()


@lru_cache
def judges() -> Judges:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Judges(segmenter=Segmenter().eval(), depth=DepthEstimator().eval(), clip=make_clip())


def noise(seed: int, size: int = SIZE) -> Picture:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def gray(level: int, size: int = SIZE) -> Picture:
    return np.full((size, size, 3), level, dtype=np.uint8)


def left_half(size: int = SIZE) -> np.ndarray:
    mask = np.zeros((size, size), dtype=bool)
    mask[:, : size // 2] = True
    return mask


def example(task: Task = Task.EDIT, **changes: Any) -> Example:
    """An edit of the left half by default."""
    fields: dict[str, Any] = {
        "id": "e0",
        "task": task,
        "prompt": "remove the cone",
        "condition": noise(1),
        "target": noise(2),
        "target_caption": "a red cube",
        "edit_mask": left_half(),
    }
    return Example(**(fields | changes))


class FakeJudges(Judges):
    """Says what the test tells it to, whatever the picture."""

    def __init__(self, **reading: np.ndarray) -> None:
        super().__init__()
        self.reading = reading

    def segment(self, pictures: Any) -> Any:
        return [self.reading for _ in pictures]

    def inverse_depth(self, pictures: Any) -> Any:
        return [self.reading["inverse_depth"] for _ in pictures]
