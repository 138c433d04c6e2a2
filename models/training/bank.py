"""The training stream as a bank on disk: edits drawn once, rendered once, kept as uint8 memory maps.

A bank of n edits holds 2 n pictures: picture 2 i is the source of edit i, 2 i + 1 its target. Any picture can serve as
target of the depth, edge and segmentation tasks, so every network reads the same bank.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from data_prep.scenes.constants import FAR, IMAGE_SIZE, NEAR
from data_prep.scenes.stream import Sample, Split, draw
from editar_bench.conditions import canny_kornia_batch, inverse_depth
from editar_bench.files import written_aside
from models.training.progress import Progress

_ROWS_AT_A_TIME = 256
_PROBED = 8  # edits that the fingerprint looks at
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


def open_bank(folder: Path, split: Split, edits: int, *, size: int = IMAGE_SIZE) -> Bank:
    """Open the bank of the first `edits` edits of a split, rendering what is not there yet.

    Every kind of map is one file, so that a bank larger than the memory can be read; a larger bank extends it.
    """
    folder = folder / f"{split}-{size}px-{fingerprint(split, size)}"
    folder.mkdir(parents=True, exist_ok=True)
    shards = [_Shard(folder, split, size, row) for row in range(0, edits, _ROWS_AT_A_TIME)]
    for name in _CHANNELS:
        _grow(shards[-1], name)
    missing = [shard for shard in shards if not shard.done.exists()]
    if missing:
        _render_all(missing)
    maps = {name: shards[-1].map(name, "r")[: 2 * edits] for name in _CHANNELS}
    texts = [json.loads(line) for s in shards for line in s.done.read_text().splitlines()]
    return Bank(maps, texts[:edits])


def fingerprint(split: Split, size: int) -> str:
    """A hash of the first edits as drawn, worded and rendered now: banks of another renderer are never mixed in."""
    samples = [draw(split, "edit", i) for i in range(_PROBED)]
    digest = hashlib.sha256(json.dumps([_record(s) for s in samples], sort_keys=True).encode())
    for name, array in sorted(_render(samples, size).items()):
        digest.update(name.encode() + array.tobytes())
    return digest.hexdigest()[:8]


def _grow(last: _Shard, name: str) -> None:
    """Make a map's file reach to the end of the last shard; what it holds stays."""
    path, wanted = last.folder / f"{name}.u8", last.bytes(name)
    path.touch()
    if path.stat().st_size < wanted:
        os.truncate(path, wanted)


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

    @property
    def rows(self) -> slice:
        """Where the shard's pictures stand in every map."""
        return slice(2 * self.start, 2 * (self.start + _ROWS_AT_A_TIME))

    def bytes(self, name: str) -> int:
        """Size of a map's file that ends with this shard."""
        return int(self.rows.stop) * self.size**2 * _CHANNELS[name]

    def map(self, name: str, mode: Literal["r", "r+"]) -> np.memmap[Any, np.dtype[np.uint8]]:
        """A map from the beginning to the end of this shard."""
        channels = _CHANNELS[name]
        shape = (self.rows.stop, self.size, self.size, *((channels,) if channels > 1 else ()))
        return np.memmap(self.folder / f"{name}.u8", np.uint8, mode, shape=shape)


def _render_all(shards: list[_Shard]) -> None:
    progress = Progress(f"rendering {shards[0].split} bank", len(shards))
    context = multiprocessing.get_context("spawn")
    with context.Pool(max(1, os.cpu_count() or 1)) as pool:
        for _ in pool.imap_unordered(_render_shard, shards):
            progress.step(1)
    progress.close()


def _render_shard(shard: _Shard) -> None:
    import torch

    torch.set_num_threads(1)  # one process a core is faster than threads over these small tensors
    samples = [draw(shard.split, "edit", shard.start + i) for i in range(_ROWS_AT_A_TIME)]
    for name, array in _render(samples, shard.size).items():
        file = shard.map(name, "r+")
        file[shard.rows] = array
        file.flush()  # before the shard counts as done
    lines = [json.dumps(_record(sample)) for sample in samples]
    with written_aside(shard.done) as aside:
        aside.write_text("\n".join(lines) + "\n")


def _render(samples: list[Sample], size: int) -> dict[str, NDArray[np.uint8]]:
    """Every kind of map of the samples' sources and targets in turn."""
    from data_prep.scenes.render import render

    scenes = [scene for s in samples if s.edit for scene in (s.edit.source, s.edit.target)]
    rendering = render(scenes, size)
    inverse = inverse_depth(rendering.depth.numpy(), NEAR, FAR)
    return {
        "rgb": rendering.rgb.numpy(),
        "depth": np.round(inverse * 255).astype(np.uint8),
        "label": rendering.label.numpy(),
        "color": rendering.color.numpy(),
        "material": rendering.material.numpy(),
        "edge": canny_kornia_batch(rendering.rgb)[..., 0].numpy(),
        "normal": ((rendering.normal.numpy() + 1) * 127.5).astype(np.uint8),
    }


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
