"""A folder of photos with captions: which files there are, and what each one's caption is.

A caption stands in `metadata.jsonl` or `metadata.csv` at the top of the folder, as `datasets`' image folders have it
(`file_name`, and `text` or `caption`), or else in a text file of the photo's name beside it (`a/1.jpg`, `a/1.txt`).
"""

from __future__ import annotations

import csv
import json
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from data_prep.untrusted import SUFFIXES, UNREAD, picture_files
from editar_bench.errors import UserError

TABLES = ("metadata.jsonl", "metadata.csv")
_TEXTS = ("text", "caption")  # columns of a table, in this order
_LONGEST = 64 * 1024  # bytes of a caption file
_CODING = "utf-8-sig"  # Windows' programs begin a text with a mark


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo by its name inside the folder; without a caption it is of no use, nor with a `problem`."""

    name: str
    caption: str
    stamp: str  # changes when the file does
    problem: str = ""


def photos(folder: Path) -> list[Photo]:
    """Every picture file under a folder, in the order of the names.

    Raises:
        UserError: there is no such folder, it holds no picture, or its table of captions cannot be read.
    """
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}; --from-images names a folder of photos.")
    table = _table(folder)
    names = picture_files(folder)
    if not names:
        raise UserError(
            f"{folder} holds no picture ({', '.join(sorted(SUFFIXES))}); give the folder of the photos."
        )
    texts = _texts_beside(folder)
    return [
        Photo(name, caption, _stamp(folder / name), _problem(name, caption))
        for name in names
        for caption in [_caption(name, table, texts)]
    ]


def _problem(name: str, caption: str) -> str:
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in UNREAD:
        return f"is a {suffix} file, which is not read; save it as PNG or JPEG"
    return "" if caption else "has no caption"


def _texts_beside(folder: Path) -> dict[str, Path]:
    """The text files of a folder by their composed names without the suffix."""
    return {
        _composed(path.relative_to(folder).with_suffix("").as_posix()): path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() == ".txt" and path.is_file()
    }


def _caption(name: str, table: Mapping[str, str], texts: Mapping[str, Path]) -> str:
    """One line; empty where there is none."""
    if told := " ".join(table.get(_composed(name), "").split()):
        return told.encode(errors="replace").decode()
    beside = texts.get(_composed(PurePosixPath(name).with_suffix("").as_posix()))
    if beside is None:
        return ""
    try:
        with beside.open("rb") as file:
            return " ".join(file.read(_LONGEST).decode(_CODING, errors="replace").split())
    except OSError:
        return ""


def _table(folder: Path) -> dict[str, str]:
    for name in TABLES:
        path = folder / name
        if path.is_file():
            read = _json_lines if path.suffix == ".jsonl" else _csv_rows
            try:
                return {
                    _composed(PurePosixPath(str(row["file_name"])).as_posix()): _text(row)
                    for row in read(path)
                }
            except (
                OSError,
                ValueError,
                KeyError,
                TypeError,
                RecursionError,
                csv.Error,
            ) as error:
                raise UserError(
                    f"The captions in {path} cannot be read ({error}); every row needs file_name, "
                    f"and {' or '.join(_TEXTS)}."
                ) from error
    return {}


def _composed(name: str) -> str:
    """A name with each accented letter as one character: disks of Macs have them as two, tables seldom."""
    return unicodedata.normalize("NFC", name)


def _text(row: Mapping[str, Any]) -> str:
    """The first caption that is a text: a cell may be empty, null or NaN."""
    cells = [row[name] for name in _TEXTS if name in row]
    if not cells:
        raise KeyError(" or ".join(_TEXTS))
    return next((cell for cell in cells if isinstance(cell, str) and cell.strip()), "")


def _json_lines(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding=_CODING) as file:
        yield from (json.loads(line) for line in file if line.strip())


def _csv_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding=_CODING, newline="") as file:
        yield from csv.DictReader(file)


def _stamp(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size}-{status.st_mtime_ns}"
