"""The training sets that `editar-bench prepare` writes as paired samples: where each is, and what a row becomes.

Pictures stay the files they are, at their stored size; TIFFs, which browsers do not show, are stored as PNG. Edges are
drawn as for the test set, at 512 pixels. PIPE is written as published, without the object to with it: the same pairs
read backwards remove it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep import hub_copy
from data_prep.hub_copy import HubSplit
from data_prep.training import instruct_pix2pix, multigen, pipe, seed_edit
from data_prep.training.pairs import Row, text, whole
from data_prep.untrusted import inside
from editar_bench.conditions import canny_published
from editar_bench.errors import UserError
from editar_bench.types import Picture, Task

Cells = dict[
    str, Any
]  # of a paired row: prompt, condition, target, and captions where the source has them


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSet:
    """One set. `folder` says where its pictures lie, where rows only name them."""

    task: Task
    source: HubSplit
    cells: Callable[[Row, str, Path | None], Cells]  # of a row, what it is, and the folder
    jsonl: bool = False  # rows are JSON lines beside an archive of pictures


def _split(
    name: str, repository: str, columns: tuple[str, ...], size: int | None = None
) -> HubSplit:
    return HubSplit(
        repository=repository,
        split="train",
        columns=columns,
        command=f"editar-bench prepare --dataset {name}",
        size=size,
    )


def _pipe(row: Row, where: str, folder: Path | None) -> Cells:
    return {
        "prompt": text(row, pipe.INSTRUCTION, where),
        "condition": hub_copy.stored(row["source_img"], f"{where}, source"),
        "target": hub_copy.stored(row["target_img"], f"{where}, target"),
    }


def _instruct_pix2pix(row: Row, where: str, folder: Path | None) -> Cells:
    return {
        "prompt": text(row, "edit_prompt", where),
        "condition": hub_copy.stored(row["original_image"], f"{where}, source"),
        "target": hub_copy.stored(row["edited_image"], f"{where}, target"),
        "source_caption": row["original_prompt"],
        "target_caption": row["edited_prompt"],
    }


def _depth(row: Row, where: str, folder: Path | None) -> Cells:
    caption = text(row, "text", where)
    return {
        "prompt": caption,
        "condition": hub_copy.stored(row["control_depth"], f"{where}, depth"),
        "target": hub_copy.stored(row["image"], where),
        "target_caption": caption,
    }


def _canny(row: Row, where: str, folder: Path | None) -> Cells:
    caption = text(row, "text", where)
    target = hub_copy.square(row["image"], where)
    return {
        "prompt": caption,
        "condition": canny_published(hub_copy.decoded(target)),
        "target": target,
        "target_caption": caption,
    }


def _seed(row: Row, where: str, folder: Path | None) -> Cells:
    assert folder is not None
    source, target = (
        named(folder, row.get(column), f"{where}, {column}")
        for column in ("source_image", "target_image")
    )
    return {
        "prompt": text(row, "instruction", where),
        "condition": source,
        "target": target,
        "source_caption": _caption(row, "source_caption", where),
        "target_caption": _caption(row, "target_caption", where),
    }


def _caption(row: Row, column: str, where: str) -> str | None:
    """What a row of JSON says of a picture, if it says something."""
    value = row.get(column)
    return whole(value, column, where) if isinstance(value, str) else None


SETS: Mapping[str, TrainingSet] = {
    "pipe-train": TrainingSet(
        task=Task.EDIT,
        source=_split("pipe-train", pipe.REPOSITORY, pipe.COLUMNS, 80_000_000_000),
        cells=_pipe,
    ),
    "seed-unsplash-train": TrainingSet(
        task=Task.EDIT,
        source=_split("seed-unsplash-train", seed_edit.REPOSITORY, seed_edit.COLUMNS),
        cells=_seed,
        jsonl=True,
    ),
    "multigen-depth-train": TrainingSet(
        task=Task.DEPTH,
        source=_split(
            "multigen-depth-train",
            multigen.REPOSITORY,
            multigen.DEPTH_COLUMNS,
            1_220_000_000_000,
        ),
        cells=_depth,
    ),
    "multigen-canny-train": TrainingSet(
        task=Task.EDGE,
        source=_split(
            "multigen-canny-train", multigen.REPOSITORY, multigen.CANNY_COLUMNS, 984_000_000_000
        ),
        cells=_canny,
    ),
    "instruct-pix2pix-train": TrainingSet(
        task=Task.EDIT,
        source=_split(
            "instruct-pix2pix-train",
            instruct_pix2pix.REPOSITORY,
            instruct_pix2pix.COLUMNS,
            63_000_000_000,
        ),
        cells=_instruct_pix2pix,
    ),
}


def named(folder: Path, name: Any, where: str) -> bytes | Picture:
    """The picture that a row names.

    Raises:
        UserError: there is none, or the name leads out of the folder.
    """
    if not isinstance(name, str) or not name:
        raise UserError(f"A row names no picture: {where}.")
    try:
        data = inside(folder, name).read_bytes()
    except (OSError, ValueError) as error:
        raise UserError(f"The picture {name} is missing; unpack the whole archive.") from error
    return hub_copy.stored({"bytes": data}, where)
