"""Render a split of a task and write it as Parquet with image columns, which any tool can read.

`data_prep.paired` says where files lie and how they appear.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from data_prep import paired
from data_prep.paired import split_path
from data_prep.scenes.constants import FAR, MAPS, NEAR
from data_prep.scenes.description import Scene
from data_prep.scenes.masks import MIN_CHANGED, changed_pixels, edit_mask
from data_prep.scenes.stream import SPLIT_SIZE, Sample, draw
from editar_bench.conditions import canny_kornia, depth_picture, palette_picture
from editar_bench.types import Picture, Task

if TYPE_CHECKING:
    from datasets import Features

BuiltSplit = Literal["test", "validation"]
Progress = Callable[[int, int], None]  # samples done, samples in all
Render = dict[str, NDArray[Any]]  # rgb, depth, label, color, material of one scene

# Each task has its own scenes; `stream.draw` repeats its seen / unseen pattern every SPLIT_SIZE.
_OFFSETS = {Task.DEPTH: 0, Task.EDGE: SPLIT_SIZE, Task.SEGMENTATION: 2 * SPLIT_SIZE}
_CHUNK = 25  # samples between two reports of progress


def task_sample(split: BuiltSplit, task: Task, number: int, attempt: int = 0) -> Sample:
    """Sample `number` (0 to 249) of a task's split, before the rule on changed pixels."""
    if task is Task.EDIT:
        return draw(split, "edit", number, attempt)
    return draw(split, "scene", _OFFSETS[task] + number, attempt)


def render_scenes(scenes: Sequence[Scene], size: int) -> list[Render]:
    """Render on the CPU in float64, so that pictures are the same on (nearly) every machine."""
    import torch

    from data_prep.scenes.render import render

    out = render(scenes, size, dtype=torch.float64)
    maps = {name: getattr(out, name).numpy() for name in ("rgb", *MAPS)}
    maps["depth"] = out.depth.to(torch.float32).numpy()
    return [{name: values[i] for name, values in maps.items()} for i in range(len(scenes))]


def make_records(
    split: BuiltSplit, task: Task, numbers: Sequence[int], size: int
) -> list[dict[str, Any]]:
    """The rows of the given samples, with pictures as uint8 arrays and depth in meters."""
    if task is Task.EDIT:
        return _edit_records(split, numbers, size)
    samples = [task_sample(split, task, number) for number in numbers]
    renders = render_scenes([sample.scene for sample in samples], size)
    return [
        _record(split, task, number, sample, truth, _condition(task, truth), None)
        for number, sample, truth in zip(numbers, samples, renders, strict=True)
    ]


def _edit_records(split: BuiltSplit, numbers: Sequence[int], size: int) -> list[dict[str, Any]]:
    """Draw, render, and draw again whatever changes fewer than MIN_CHANGED pixels."""
    records: dict[int, dict[str, Any]] = {}
    attempt = 0
    while pending := [number for number in numbers if number not in records]:
        samples = [task_sample(split, Task.EDIT, number, attempt) for number in pending]
        sources = render_scenes([sample.scene for sample in samples], size)
        targets = render_scenes([s.edit.target for s in samples if s.edit is not None], size)
        for number, sample, source, truth in zip(pending, samples, sources, targets, strict=True):
            if changed_pixels(source["rgb"], truth["rgb"]).sum() >= MIN_CHANGED:
                mask = edit_mask(source["rgb"], truth["rgb"], sample.category)
                records[number] = _record(
                    split, Task.EDIT, number, sample, truth, source["rgb"], mask
                )
        attempt += 1
    return [records[number] for number in numbers]


def _condition(task: Task, truth: Render) -> Picture:
    makers: dict[Task, Callable[[Render], Picture]] = {
        Task.DEPTH: lambda maps: depth_picture(maps["depth"], NEAR, FAR),
        Task.EDGE: lambda maps: canny_kornia(maps["rgb"]),
        Task.SEGMENTATION: lambda maps: palette_picture(maps["label"]),
    }
    return makers[task](truth)


def _record(
    split: str,
    task: Task,
    number: int,
    sample: Sample,
    truth: Render,
    condition: Picture,
    mask: NDArray[np.bool_] | None,
) -> dict[str, Any]:
    edit = task is Task.EDIT
    return {
        "id": f"scenes-{task.value}-{split}-{number:03d}",
        "task": task.value,
        "prompt": sample.instruction if edit else sample.caption,
        "condition": condition,
        "source_caption": sample.caption if edit else None,
        "target_caption": sample.target_caption if edit else sample.caption,
        "target": truth["rgb"],
        "edit_mask": None if mask is None else mask.astype(np.uint8) * 255,
        "depth": truth["depth"],
        **{name: truth[name] for name in MAPS},
        "category": sample.category,
        "slices": list(sample.slices),
        paired.SOURCE_ID: None,
    }


def features(size: int) -> Features:
    """The columns: pictures and maps are PNG images, depth is float32 meters (inf = sky)."""
    from datasets import Array2D

    return paired.features(MAPS, {"depth": Array2D(shape=(size, size), dtype="float32")})


def build_split(
    split: BuiltSplit,
    task: Task,
    folder: Path,
    size: int,
    *,
    count: int = SPLIT_SIZE,
    progress: Progress | None = None,
) -> Path:
    """Render the first `count` samples of a split and write them; returns the file.

    Args:
        split: "test" or "validation".
        task: the task whose samples to make.
        folder: the data set's folder; the file goes into its subfolder for the task.
        size: pixels a side.
        count: samples to make; the whole split by default.
        progress: called after every few samples with (done, count).
    """
    records: list[dict[str, Any]] = []
    for start in range(0, count, _CHUNK):
        numbers = range(start, min(start + _CHUNK, count))
        records += make_records(split, task, numbers, size)
        if progress is not None:
            progress(len(records), count)
    path = split_path(folder, task, split)
    _write(records, path, size)
    return path


def _write(records: list[dict[str, Any]], path: Path, size: int) -> None:
    from datasets import Dataset
    from datasets.utils import logging

    had_bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # one file takes a moment; the caller shows the progress
    try:
        with paired.written_aside(path) as aside:
            Dataset.from_list(records, features=features(size)).to_parquet(str(aside))
    finally:
        if had_bars:
            logging.enable_progress_bar()
