"""Milliseconds a rendered picture: `python -m tests.benchmarks.render`.

The plain side tests every ray against every object of its scene, what the bounding spheres save; both make the same
pictures (a test compares them).
"""

from __future__ import annotations

import time
from unittest import mock

import torch

from data_prep.scenes import render as module
from data_prep.scenes.description import Scene
from data_prep.scenes.render import render
from data_prep.scenes.stream import draw
from tests.data_prep.scenes.test_render import every_candidate, every_shadow_pair

SCENES, SIZES = 48, (64, 128)


def milliseconds(scenes: list[Scene], size: int) -> float:
    """Time a picture of this size takes, best of three."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        render(scenes, size)
        times.append(1e3 * (time.perf_counter() - start) / len(scenes))
    return min(times)


def main() -> None:
    """Print both sides for both sizes."""
    scenes = [draw("train", "scene", index).scene for index in range(SCENES)]
    print(f"{torch.get_num_threads()} threads, {SCENES} scenes")
    for size in SIZES:
        ours = milliseconds(scenes, size)
        everything = (
            mock.patch.object(module, "_candidates", every_candidate),
            mock.patch.object(module, "_passes", every_shadow_pair),
        )
        with everything[0], everything[1]:
            plain = milliseconds(scenes[:8], size)
        print(
            f"{size:4} px  {ours:7.2f} ms   every ray against every object {plain:8.2f} ms   {plain / ours:5.1f} ×"
        )


if __name__ == "__main__":
    main()
