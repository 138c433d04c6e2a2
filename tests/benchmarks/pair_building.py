"""Pairs from photos with canny edges: `python -m tests.benchmarks.pair_building`.

The plain loop reads, cuts and detects one photo after another in this process, on one thread, and writes the same file.
Ours does it in worker processes, one a core. Then the memory of the building process is followed over 100,000 photos
whose pixels are made up, since theirs would take hours and tell nothing else.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from data_prep import paired
from data_prep.photos import build as building
from data_prep.photos.listing import Photo, photos
from data_prep.photos.work import Made, make, start
from data_prep.pool import cores
from editar_bench.types import Task

COUNT = 500  # photos
MANY = 100_000
STEPS = (1_000, 10_000, 50_000, 100_000)


def make_photos(folder: Path) -> None:
    """Photos of 800 × 600 pixels with soft structure and grain, each with its caption."""
    rng = np.random.default_rng(0)
    for i in range(COUNT):
        small = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        large = np.asarray(Image.fromarray(small).resize((800, 600), Image.Resampling.BICUBIC))
        grain = rng.normal(0, 6, large.shape)
        picture = (large + grain).clip(0, 255).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{i:05d}.jpg", quality=90)
        (folder / f"{i:05d}.txt").write_text(f"photo {i}")


def plain_loop(source: Path, folder: Path) -> None:
    """One photo after another."""

    def rows() -> Iterator[dict[str, Any]]:
        for photo in photos(source):
            made = make(source / photo.name, edges=True, pixels=False)
            yield building._row(photo, made, Task.EDGE, None)

    paired.write_rows(rows(), folder / "plain.parquet", paired.features())


def seconds(work: Callable[[], Any]) -> float:
    """Wall time."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def compare_speed(folder: Path) -> None:
    """Pictures a second."""
    source = folder / "photos"
    source.mkdir()
    make_photos(source)
    start()  # what a worker does first, too: the detector is loaded before anything is timed
    processor = time.process_time()
    plain = COUNT / seconds(lambda: plain_loop(source, folder))
    processor = time.process_time() - processor
    own = time.process_time()
    times = [time.perf_counter()]  # then one after every part
    building.build(
        source, folder / "pairs", ["canny"], {}, lambda count: times.append(time.perf_counter())
    )
    ours = COUNT / (times[-1] - times[0])
    steady = (COUNT - building.PART) / (times[-1] - times[1])
    print(
        f"canny pairs of {COUNT} photos: plain loop {plain:.2f} pictures/s, ours on {cores()} cores "
        f"{ours:.2f} with the workers' start ({ours / plain:.2f} ×), {steady:.2f} after the first "
        f"part ({steady / plain:.2f} ×); beside the workers {1e3 * (time.process_time() - own) / COUNT:.1f} "
        f"ms of processor time a photo, the plain loop {1e3 * processor / COUNT:.1f} ms"
    )


def follow_memory(folder: Path) -> None:
    """Resident memory of the building process, after so many photos."""

    def made_up(function: partial[Made], items: Iterable[Path], **how: Any) -> Iterator[Made]:
        for item in items:
            content = hashlib.sha256(item.name.encode()).hexdigest()
            yield Made(content=content, target=item.name.encode() * 300, edges=b"e" * 1000)

    def listed(source: Path) -> list[Photo]:
        return [Photo(f"{i:06d}.jpg", f"photo {i}", "0") for i in range(MANY)]

    done, told = 0, []

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if done in STEPS:
            told.append(f"{done:,}: {_resident() / 2**20:.0f} MiB")

    building.in_order, building.photos = made_up, listed  # type: ignore[assignment]
    building.build(folder, folder / "many", ["canny"], {}, advance)
    size = json.loads((folder / "many" / building.RECORD).read_text())["pairs"]
    print(f"memory after photos {'; '.join(told)} ({size:,} pairs)")


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def main() -> None:
    """Print both."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        compare_speed(Path(folder))
        follow_memory(Path(folder))


if __name__ == "__main__":
    main()
