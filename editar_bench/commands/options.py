"""Options that several commands share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

_SCHEME = re.compile(r"\w+:")  # what DuckDB takes for the name of an extension, and fetches


def local_folder(name: str | Path) -> Path:
    """The folder of `--out`, when it is one that DuckDB can write to.

    Raises:
        UserError: its name says something else to DuckDB, or nothing to this machine.
    """
    from editar_bench.errors import UserError

    name = str(name)
    if not name.strip():
        raise UserError("--out is empty; name a folder, '.' for this one.")
    undecoded = any("\udc80" <= character <= "\udcff" for character in name)
    if undecoded or "?" in name or _SCHEME.match(name):
        raise UserError(
            f"--out is {name!r}; it must be a local folder, whose name is valid UTF-8, has no '?' "
            "and does not begin like an address ('s3:')."
        )
    out = Path(name)
    try:
        out.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass  # a run makes the folder, or says why it cannot
    except OSError as error:
        raise UserError(
            f"--out is {name!r}, which cannot be opened ({error.strerror}); choose another folder."
        ) from error
    if out.is_file():
        raise UserError(f"--out is {name!r}, which is a file; choose another folder.")
    return out


Out = Annotated[
    Path,
    typer.Option(help="Folder of the results store.", parser=local_folder, metavar="<dir>"),
]
Suite = Annotated[
    str | None,
    typer.Option(help="scenes (the default) or paper: data sets and models that belong together."),
]
Dataset = Annotated[
    str | None, typer.Option(help="One data set instead of a whole suite; `ls datasets` names all.")
]
Limit = Annotated[int | None, typer.Option(help="Use only the first N samples of each task.")]
Seed = Annotated[
    int, typer.Option(help="Seed of the run; each picture's own seed follows from it.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
BatchSize = Annotated[
    str,
    typer.Option(
        help="auto (each model's own, fitted to the free memory) or a number, the same for all models."
    ),
]

DEFAULT_OUT = Path("results")
_LONGEST_NUMBER = 9  # digits


def listed(text: str | None) -> list[str]:
    """The names of a comma list, without blanks around them."""
    return [name for part in (text or "").split(",") if (name := part.strip())]


def read_batch_size(text: str) -> int | None:
    """`auto` is None; anything but a positive number is an error."""
    from editar_bench.errors import UserError

    if text == "auto":
        return None
    if not text.isdecimal() or len(text) > _LONGEST_NUMBER or int(text) < 1:
        shown = text if len(text) <= 2 * _LONGEST_NUMBER else f"{text[:_LONGEST_NUMBER]}…"
        raise UserError(f"--batch-size is '{shown}'; write auto or a number of at least 1.")
    return int(text)
