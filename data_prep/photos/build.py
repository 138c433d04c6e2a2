"""Pairs from any folder of photos with captions: `editar-bench prepare --from-images`.

Worker processes on all cores cut the photos and find their edges; networks look at them in this process, in batches.
The work is done in parts of a hundred photos, each of them whole on disk before the next is begun, so that a stopped
run goes on where it was, and nothing but the part at hand is in memory.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from data_prep import paired
from data_prep.photos.listing import Photo, photos
from data_prep.photos.work import Made, make, png, start
from data_prep.pool import in_order
from editar_bench.conditions import ADE20K_PALETTE, palette_picture
from editar_bench.errors import UserError
from editar_bench.types import Task

CONDITIONS = {"canny": Task.EDGE, "depth": Task.DEPTH, "segmentation": Task.SEGMENTATION}
MAPS = {Task.EDGE: (), Task.DEPTH: ("control_depth",), Task.SEGMENTATION: ("label",)}
PART = 100  # photos
VERSION = 3  # of what is made from a photo
RECORD, SKIPPED, PARTS = "photos.json", "skipped.csv", ".parts"

Annotators = dict[Task, Any]
Rows = dict[Task, list[dict[str, Any]]]


@dataclass(slots=True)
class Outcome:
    """What became of the photos; `skipped` are pairs of name and reason."""

    pairs: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    contents: list[str] = field(default_factory=list)  # sha256 of the files


def build(
    source: Path,
    folder: Path,
    conditions: Sequence[str],
    annotators: Annotators,
    advance: Callable[[int], None],
    workers: int | None = None,
) -> Outcome:
    """Write `<folder>/<task>/test-….parquet` for every condition, and the list of what could not be used.

    Args:
        source: the folder of photos.
        folder: the data set's.
        conditions: names in `CONDITIONS`.
        annotators: per task of a network what makes maps of pictures.
        advance: called with the number of photos that are done.
        workers: processes; one a core by default.

    Raises:
        UserError: the folder holds pairs of other photos, or no photo can be used.
    """
    tasks = [CONDITIONS[name] for name in conditions]
    found = photos(source)
    settings: dict[str, Any] = {
        "source": str(source.resolve()),
        "conditions": sorted(conditions),
        "annotators": {str(task): a.identity for task, a in annotators.items()},
        "version": VERSION,
    }
    _check_same(folder, settings["source"])
    chunks = [found[i : i + PART] for i in range(0, len(found), PART)]
    keys = _keys(settings, chunks)
    parts = folder / PARTS
    whole = Outcome()
    for outcome in _parts(source, parts, tasks, annotators, chunks, keys, workers):
        whole.pairs += outcome.pairs
        whole.skipped += outcome.skipped
        advance(outcome.pairs + len(outcome.skipped))
    if not whole.pairs:
        raise UserError(
            f"None of the {len(found)} pictures in {source} can be used; the first: "
            f"{whole.skipped[0][0]}: {whole.skipped[0][1]}"
        )
    _write_skipped(folder / SKIPPED, whole.skipped)
    record = settings | {"pairs": whole.pairs, "skipped": len(whole.skipped)}
    _write_text(folder / RECORD, json.dumps(record, indent=1))  # first: it says whose the pairs are
    for task in tasks:
        files = [parts / f"{key}-{task}.parquet" for key in keys]
        paired.concatenate(files, paired.split_path(folder, task, "test"))
    shutil.rmtree(parts)
    return whole


def _parts(
    source: Path,
    parts: Path,
    tasks: Sequence[Task],
    annotators: Annotators,
    chunks: Sequence[Sequence[Photo]],
    keys: Sequence[str],
    workers: int | None,
) -> Iterator[Outcome]:
    """The outcome of every part in order, made or found."""
    done = [_read_marker(parts / f"{key}.json") for key in keys]
    todo = [p for chunk, old in zip(chunks, done, strict=True) if old is None for p in chunk]
    jobs = [(source / photo.name) for photo in todo if not photo.problem]
    function = partial(make, edges=Task.EDGE in tasks, pixels=bool(annotators))
    made = in_order(function, jobs, workers=workers, start=start)
    seen: set[str] = set()
    for chunk, key, old in zip(chunks, keys, done, strict=True):
        outcome = old
        if outcome is None:
            outcome, rows = _pair(chunk, made, seen, tasks, annotators)
            for task in tasks:
                path = parts / f"{key}-{task}.parquet"
                paired.write_rows(rows[task], path, paired.features(MAPS[task]))
            _write_text(parts / f"{key}.json", json.dumps(asdict(outcome)))  # last: now it is whole
        seen.update(outcome.contents)
        yield outcome


def _pair(
    chunk: Sequence[Photo],
    made: Iterator[Made],
    seen: set[str],
    tasks: Sequence[Task],
    annotators: Annotators,
) -> tuple[Outcome, Rows]:
    """The rows of a part; a photo is in all tasks or in none."""
    outcome, good = Outcome(), []
    for photo in chunk:
        result = Made(reason=photo.problem) if photo.problem else next(made)
        if result.content in seen:
            result = Made(reason="is the same file as an earlier one")
        if result.target:
            seen.add(result.content)
            good.append((photo, result))
        else:
            outcome.skipped.append((photo.name, result.reason))
    maps = {task: _annotate(a, [m for _, m in good]) for task, a in annotators.items()}
    rows: Rows = {task: [] for task in tasks}
    for index, (photo, result) in enumerate(good):
        own = {task: found[index] for task, found in maps.items()}
        if any(value is None for value in own.values()):
            outcome.skipped.append((photo.name, "its depth is the same everywhere"))
            continue
        outcome.pairs += 1
        outcome.contents.append(result.content)
        for task in tasks:
            rows[task].append(_row(photo, result, task, own.get(task)))
    return outcome, rows


def _annotate(annotator: Any, made: Sequence[Made]) -> list[Any]:
    from data_prep.photos.annotators import BATCH

    pictures = [m.pixels for m in made]
    batches = (pictures[i : i + BATCH] for i in range(0, len(pictures), BATCH))
    return [found for batch in batches for found in annotator(batch)]


def _row(photo: Photo, made: Made, task: Task, found: Any) -> dict[str, Any]:
    condition: Any = made.edges
    maps: dict[str, Any] = {}
    if task is Task.DEPTH:
        condition, maps = png(found), {"control_depth": found}
    elif task is Task.SEGMENTATION:
        condition, maps = png(palette_picture(found, ADE20K_PALETTE)), {"label": found}
    return maps | {
        "id": f"photos-{task}-{made.content[:16]}",
        "task": task.value,
        "prompt": photo.caption,
        "condition": condition,
        "source_caption": None,
        "target_caption": photo.caption,
        "target": made.target,
        "edit_mask": None,
        "category": "",
        "slices": [],
        paired.SOURCE_ID: photo.name,
    }


def _keys(settings: dict[str, Any], chunks: Sequence[Sequence[Photo]]) -> list[str]:
    """Names parts: other photos, captions or networks make another one.

    Those of earlier parts count too: which file is the same as an earlier one depends on them.
    """
    keys = [""]
    for chunk in chunks:
        told = [settings, keys[-1], [asdict(photo) for photo in chunk]]
        keys.append(hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:24])
    return keys[1:]


def _check_same(folder: Path, source: str) -> None:
    record = folder / RECORD
    if record.is_file():
        try:
            before = json.loads(record.read_text(encoding="utf-8"))["source"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{record} is damaged, so that whose pairs are in {folder} is not known; delete that folder."
            ) from error
        if before != source:
            raise UserError(
                f"{folder} holds pairs of {before}; delete it, or name another data folder in "
                "EDITAR_BENCH_DATA."
            )


def _read_marker(path: Path) -> Outcome | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        skipped = [(name, reason) for name, reason in record["skipped"]]
        return Outcome(record["pairs"], skipped, record["contents"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not there, or not to be trusted: made again


def _write_skipped(path: Path, skipped: Sequence[tuple[str, str]]) -> None:
    with (
        paired.written_aside(path) as aside,
        # names of files may be no UTF-8
        aside.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(("file", "reason"))
        writer.writerows(skipped)


def _write_text(path: Path, text: str) -> None:
    with paired.written_aside(path) as aside:
        aside.write_text(text + "\n", encoding="utf-8")
