"""What a row of any training set becomes: a text, a condition picture and the picture to make.

Nothing is written to disk: these sets are terabytes, and are read as they lie. Every cell is from outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.untrusted import inside, rgb_picture
from editar_bench.errors import UserError
from editar_bench.types import Picture

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One training sample at its stored size; `condition` is None where it is made from the target."""

    text: str
    condition: Picture | None
    target: Picture


def picture(row: Row, column: str, where: str, folder: Path | None = None) -> Picture:
    """A cell as RGB (H, W, 3).

    Args:
        row: of the source.
        column: whose cell is an image struct of the hub, the bytes of a file, or a file's name.
        where: what set it is, for messages.
        folder: where named files lie.

    Raises:
        UserError: there is no picture, or it cannot be used.
    """
    cell = row[column]
    if isinstance(cell, Mapping):
        cell = cell.get("bytes")
    if isinstance(cell, str) and folder is not None:
        path = inside(folder, cell)
        try:
            cell = path.read_bytes()
        except OSError as error:
            raise UserError(f"The picture {path} is missing; unpack the whole archive.") from error
    if not isinstance(cell, bytes) or not cell:
        raise UserError(f"A row of {where} has no picture in {column}.")
    return rgb_picture(cell, f"{column} of {where}")


def text(row: Row, column: str, where: str) -> str:
    """A cell as a text.

    Raises:
        UserError: it is empty: nothing is learned from a picture nobody asked for.
    """
    value = row[column]
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"A row of {where} has no text in {column}.")
    return whole(value, column, where)


def whole(value: str, column: str, where: str) -> str:
    """A text that can be written down.

    Raises:
        UserError: it holds half of a surrogate pair, which JSON can spell and UTF-8 cannot.
    """
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"The text of a row of {where} in {column} is damaged.") from error
    return value
