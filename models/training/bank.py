"""The training stream as a bank on disk: edits drawn once, rendered once, kept as uint8 memory maps.

A bank of n edits holds 2 n pictures: picture 2 i is the source of edit i, 2 i + 1 its target. Any picture can serve as
target of the depth, edge and segmentation tasks, so every network reads the same bank.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.scenes.constants import FAR, IMAGE_SIZE, NEAR
from data_prep.scenes.stream import Split, draw
from editar_bench.conditions import canny_kornia_batch, inverse_depth
from models.training.progress import Progress

_ROWS_AT_A_TIME = 256
_CHANNELS = {"rgb": 3, "depth": 1, "label": 1, "color": 1, "material": 1, "edge": 1, "normal": 3}


@dataclass(frozen=True, slots=True)
class Bank:
    """Memory maps over 2 n pictures, (2 n, H, W) or (2 n, H, W, 3) uint8, and one text record per edit.

    depth is inverse depth times 255 (near = 255, sky = 0); edge is 0 or 255; normal maps [-1, 1] to 0...255.
    """

    maps: dict[str, NDArray[np.uint8]]
    texts: list[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.texts)


def open_bank(
    folder: Path, split: Split, edits: int, *, size: int = IMAGE_SIZE, start: int = 0
) -> Bank:
    """Open the bank of edits start...start + edits, rendering what is not there yet."""
    folder = folder / f"{split}-{size}px"
    folder.mkdir(parents=True, exist_ok=True)
    shards = [_Shard(folder, split, size, row) for row in _shard_starts(start, edits)]
    missing = [shard for shard in shards if not shard.done.exists()]
    if missing:
        _render_all(missing)
    maps = {
        name: np.concatenate([np.load(s.path(name), mmap_mode="r") for s in shards])[: 2 * edits]
        for name in _CHANNELS
    }
    texts = [json.loads(line) for s in shards for line in s.done.read_text().splitlines()]
    return Bank(maps, texts[:edits])


@dataclass(frozen=True, slots=True)
class _Shard:
    folder: Path
    split: Split
    size: int
    start: int

    @property
    def done(self) -> Path:
        """The text records; written last, so that it marks a whole shard."""
        return self.folder / f"{self.start:08d}.jsonl"

    def path(self, name: str) -> Path:
        return self.folder / f"{self.start:08d}.{name}.npy"


def _shard_starts(start: int, edits: int) -> Iterator[int]:
    first = start - start % _ROWS_AT_A_TIME
    return iter(range(first, start + edits, _ROWS_AT_A_TIME))


def _render_all(shards: list[_Shard]) -> None:
    progress = Progress(f"rendering {shards[0].split} bank", len(shards))
    context = multiprocessing.get_context("spawn")
    with context.Pool(max(1, os.cpu_count() or 1)) as pool:
        for _ in pool.imap_unordered(_render_shard, shards):
            progress.step(1)
    progress.close()


def _render_shard(shard: _Shard) -> None:
    import torch

    from data_prep.scenes.render import render

    torch.set_num_threads(1)  # one process a core is faster than threads over these small tensors
    samples = [draw(shard.split, "edit", shard.start + i) for i in range(_ROWS_AT_A_TIME)]
    scenes = [scene for s in samples if s.edit for scene in (s.edit.source, s.edit.target)]
    rendering = render(scenes, shard.size)
    rgb = rendering.rgb.numpy()
    inverse = inverse_depth(rendering.depth.numpy(), NEAR, FAR)
    arrays = {
        "rgb": rgb,
        "depth": np.round(inverse * 255).astype(np.uint8),
        "label": rendering.label.numpy(),
        "color": rendering.color.numpy(),
        "material": rendering.material.numpy(),
        "edge": canny_kornia_batch(rendering.rgb)[..., 0].numpy(),
        "normal": ((rendering.normal.numpy() + 1) * 127.5).astype(np.uint8),
    }
    for name, array in arrays.items():
        np.save(shard.path(name), array)
    lines = [json.dumps(_record(sample)) for sample in samples]
    temporary = shard.done.with_suffix(".part")
    temporary.write_text("\n".join(lines) + "\n")
    temporary.rename(shard.done)


def _record(sample: Any) -> dict[str, Any]:
    edit = sample.edit
    return {
        "captions": [sample.caption, sample.target_caption],
        "instruction": sample.instruction,
        "category": sample.category,
        "scenes": [asdict(edit.source), asdict(edit.target)],
        "attribute": edit.attribute,
        "value": edit.value,
        "cell": edit.cell,
        "destination": edit.destination,
        "result": asdict(edit.result) if edit.result else None,
    }
