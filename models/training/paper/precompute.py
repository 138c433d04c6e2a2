"""Sources with codes, and perhaps text features, computed once: training then needs no codec and no text encoder.

A row of the original becomes a row here, shard for shard, rows that cannot be used among them, so that a run reads the
same samples in the same order as it would from the original. What the teacher sees stays a picture: it is smaller than
the teacher's features. Text features take 0.5 MB a sample, codes 4 kB.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.paired import write_rows, written_aside
from editar_bench.errors import UserError
from models.training.paper.frozen import Frozen
from models.training.paper.opening import COMPUTED, MAKER, TEXT_SLOTS, Opened, Shape, open_shards
from models.training.paper.samples import Sample, stored
from models.training.paper.sources import Source
from models.training.progress import Progress

if TYPE_CHECKING:
    from datasets import Features

_ROWS = 8  # coded at once


def compute(
    source: Source,
    data: Path,
    target: Path,
    shape: Shape,
    frozen: Frozen,
    *,
    with_text: bool,
    process: int = 0,
    processes: int = 1,
) -> None:
    """Write `<target>/<source>/train-….parquet`, this process its part of the shards; shards that are there stay.

    Raises:
        UserError: there is no local copy, no space, or another codec's work in the folder.
    """
    folder = target / source.name
    shards = open_shards(source, data, shape)
    progress = Progress(f"computing {source.name}", len(shards[process::processes]))
    _write_maker(
        folder / MAKER,
        {k: v for k, v in shape.made_by.items() if with_text or k not in ("text", TEXT_SLOTS)},
    )
    for index in range(process, len(shards), processes):
        path = folder / f"train-{index:05d}-of-{len(shards):05d}.parquet"
        if not path.exists():
            write_rows(_rows(shards[index](), frozen, with_text), path, _features())
        progress.step(1)
    progress.close()


def _write_maker(path: Path, made_by: dict[str, str]) -> None:
    text = json.dumps(made_by) + "\n"
    if path.exists() and path.read_text() != text:
        raise UserError(
            f"train: {path.parent} holds what other networks, or the same without text, made; delete it or "
            "choose another folder"
        )
    with written_aside(path) as aside:
        aside.write_text(text)


def _rows(opened: Opened, frozen: Frozen, with_text: bool) -> Iterator[dict[str, Any]]:
    source = iter(opened.rows)
    while rows := list(islice(source, _ROWS)):
        tried = [_ways(opened, row) for row in rows]
        good = [sample for ways in tried if isinstance(ways, list) for sample in ways]
        cells = iter(_cells(good, frozen, with_text) if good else [])
        for ways in tried:
            if isinstance(ways, UserError):
                yield {"failed": str(ways), COMPUTED: []}
            else:
                yield {"failed": None, COMPUTED: [next(cells) for _ in ways]}


def _ways(opened: Opened, row: Any) -> list[Sample] | UserError:
    tried = [opened.attempt(row, way) for way in range(opened.ways)]
    failed = [one for one in tried if isinstance(one, UserError)]
    return failed[0] if failed else [one for one in tried if isinstance(one, Sample)]


def _cells(samples: list[Sample], frozen: Frozen, with_text: bool) -> list[dict[str, Any]]:
    codes = frozen.codes(samples).cpu().unbind(1)
    features = frozen.features(samples).cpu() if with_text else [None] * len(samples)
    return [
        stored(s.prompt, s.crop, c, f) for s, c, f in zip(samples, codes, features, strict=True)
    ]


def _features() -> Features:
    from datasets import Features, Value

    way = {name: Value("binary") for name in ("crop", "codes", "features")}
    return Features({"failed": Value("string"), COMPUTED: [{"prompt": Value("string"), **way}]})
