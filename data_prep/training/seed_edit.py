"""SEED-Data-Edit, part 1, Unsplash (Ge et al. 2024; `AILab-CVC/SEED-Data-Edit-Part1-Unsplash`, about 1.5 M edits).

The repository holds JSON lines under `auto_editing/unsplash`, and the pictures that they name as one compressed archive
in pieces. Such an archive can only be read from its beginning, so it has to be fetched and unpacked. Of the two folders
of annotations only `annotations` is read: the other, `annotations_GPT4V`, rewrites a small part and has one field more.
Copies as Parquet, or as `Dataset.save_to_disk` leaves them, with the bytes of the pictures in the same columns, are
what the published trainer reads; they serve here too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from data_prep.training.pairs import Pair, Row, picture, text
from data_prep.untrusted import inside
from editar_bench.errors import UserError

REPOSITORY = "AILab-CVC/SEED-Data-Edit-Part1-Unsplash"
COLUMNS = ("source_image", "target_image", "instruction")
HOME = Path("auto_editing", "unsplash")
ANNOTATIONS, PICTURES = "annotations", "images"  # folders of the home
_LOOKED_FOR = 20  # rows whose pictures show where all are


def pair(row: Row, pictures: Path | None = None) -> Pair:
    """Picture before the edit to picture after it; `pictures` is where those lie that a row only names."""
    return Pair(
        text=text(row, "instruction", REPOSITORY),
        condition=picture(row, "source_image", REPOSITORY, pictures),
        target=picture(row, "target_image", REPOSITORY, pictures),
    )


def row_of(line: str) -> Row:
    """A row of the annotations; an empty one, which is skipped and counted, for a line that is none."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}


def how_to_prepare(folder: Path) -> str:
    """The commands that make a local copy."""
    return (
        f"`hf download {REPOSITORY} --repo-type dataset --local-dir {folder}`, then `find {folder} -name "
        f"'unsplash_images.tar.gz.part-*' | sort | xargs cat | tar xz -C {folder / HOME}`"
    )


def find_pictures(annotations: Path, folder: Path) -> Path:
    """Where the pictures lie that JSON lines name: a folder of the copy, or one below, as they were unpacked.

    Args:
        annotations: one file of JSON lines.
        folder: of the whole copy.

    Raises:
        UserError: they are nowhere, or the file is damaged.
    """
    names = list(_names(annotations))
    homes = list(dict.fromkeys([annotations.parents[1] / PICTURES, annotations.parents[1], folder]))
    below = (path for home in homes if home.is_dir() for path in home.iterdir() if path.is_dir())
    for home in (*homes, *below):
        if any(_is_there(home, name) for name in names):
            return home
    raise UserError(
        f"No picture that {annotations} names lies in {folder}; they come as one archive in pieces that "
        f"must be unpacked: {how_to_prepare(folder)}"
    )


def _names(annotations: Path) -> Iterator[str]:
    """Pictures of the first rows; damaged rows are counted where the data are read.

    Raises:
        UserError: none of them names one.
    """
    found, problem = False, "it is empty"
    with annotations.open(encoding="utf-8", errors="replace") as lines:
        for line in islice(lines, _LOOKED_FOR):
            try:
                row = json.loads(line)
                names = [str(row[column]) for column in COLUMNS[:2]]
            except (ValueError, KeyError, TypeError) as error:
                problem = repr(error)
                continue
            found = True
            yield from names
    if not found:
        raise UserError(
            f"{annotations} is no file of JSON lines with {' and '.join(COLUMNS[:2])} ({problem}); "
            f"fetch {REPOSITORY} again"
        )


def _is_there(folder: Path, name: str) -> bool:
    try:
        return inside(folder, name).is_file()
    except (UserError, OSError, ValueError):
        return False  # names from outside may lead anywhere, or be none; rows say so when they are read
