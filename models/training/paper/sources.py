"""The five sets that the published EditAR was trained on, with their shares (arXiv 2501.04699 and its `train.sh`).

A source is drawn for every sample by its share; the size of a set plays no part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from data_prep.training import coco_stuff, multigen, pipe, seed_edit
from data_prep.training.pairs import Pair
from editar_bench.types import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One set: where it is, what is read of it, and how a row becomes a sample."""

    name: str
    folder: str  # of a local copy, under the folder of all data
    repository: str  # on the hub
    task: Task
    share: float
    columns: tuple[str, ...]
    preferred: str | None = None  # a column that takes the last one's place where a copy has it
    ways: tuple[Callable[..., Pair], ...]  # of reading a row; each is as likely as the others
    rows: int  # about
    row_bytes: int  # about, of the columns that are read


SOURCES = (
    Source(
        name="multigen-depth",
        folder="multigen",
        repository=multigen.REPOSITORY,
        task=Task.DEPTH,
        share=0.15,
        columns=multigen.DEPTH_COLUMNS,
        ways=(multigen.depth_pair,),
        rows=2_810_604,
        row_bytes=434_000,
    ),
    Source(
        name="multigen-canny",
        folder="multigen",
        repository=multigen.REPOSITORY,
        task=Task.EDGE,
        share=0.15,
        columns=multigen.CANNY_COLUMNS,
        ways=(multigen.canny_pair,),
        rows=2_810_604,
        row_bytes=350_000,
    ),
    Source(
        name="coco-stuff",
        folder="coco-stuff",
        repository=coco_stuff.REPOSITORY,
        task=Task.SEGMENTATION,
        share=0.15,
        columns=coco_stuff.COLUMNS,
        preferred=coco_stuff.DETAILED,
        ways=(coco_stuff.pair,),
        rows=118_287,
        row_bytes=180_000,
    ),
    Source(
        name="pipe",
        folder="pipe",
        repository=pipe.REPOSITORY,
        task=Task.EDIT,
        share=0.25,
        columns=pipe.COLUMNS,
        ways=(pipe.add_pair, pipe.remove_pair),
        rows=888_000,
        row_bytes=91_000,
    ),
    Source(
        name="seed-unsplash",
        folder="seed-unsplash",
        repository=seed_edit.REPOSITORY,
        task=Task.EDIT,
        share=0.30,
        columns=seed_edit.COLUMNS,
        ways=(seed_edit.pair,),
        rows=1_500_000,
        row_bytes=200_000,
    ),
)
