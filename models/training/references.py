"""The 5,000 fixed renders that `kernel_distance` measures against, as the segmenter's embeddings.

Run `python -m models.training.references` after training a segmenter: the embeddings are its, and are
refused beside another.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from data_prep.scenes.constants import IMAGE_SIZE
from data_prep.scenes.render import render
from data_prep.scenes.stream import REFERENCE_SIZE, draw
from editar_bench.evaluators.pretrained import load_segmenter
from editar_bench.evaluators.weights import DEFAULT_FOLDER, save_reference
from models.editar.pictures import to_tensor
from models.training.progress import Progress

_BATCH = 100


@torch.no_grad()
def make_references(folder: Path = DEFAULT_FOLDER) -> None:
    """Render, embed and store; deterministic up to the renderer's float32."""
    load_segmenter.cache_clear()  # the one trained a moment ago, not one that this process read before
    segmenter = load_segmenter("cpu", folder)
    progress = Progress("reference renders", REFERENCE_SIZE)
    embeddings = []
    for start in range(0, REFERENCE_SIZE, _BATCH):
        scenes = [draw("reference", "scene", start + i).scene for i in range(_BATCH)]
        pictures = render(scenes, IMAGE_SIZE).rgb.numpy()
        embeddings.append(segmenter.embedding(to_tensor(pictures)).numpy())
        progress.step(_BATCH)
    save_reference(np.concatenate(embeddings), folder)
    progress.close()


if __name__ == "__main__":
    sys.exit(make_references())
