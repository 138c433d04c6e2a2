"""The file of `--file`: looked at before the work, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def check_file(file: Path) -> None:
    """Refuse a file that could not be written in the end.

    Raises:
        UserError: its folder is not there or not to be written to, or it is a folder itself.
    """
    from editar_bench.errors import UserError

    if not file.parent.is_dir():
        raise UserError(f"--file is {file}, but there is no folder {file.parent}; make it first.")
    if file.is_dir():
        raise UserError(f"--file is {file}, which is a folder; name a file.")
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise UserError(f"--file is {file}, which may not be written; choose another place.")


def write_text(file: Path, text: str) -> None:
    """Write a file whole or not at all: a full disk leaves no half of it.

    Raises:
        UserError: it cannot be written.
    """
    from editar_bench.files import written_aside
    from editar_bench.parts import disk_errors

    with disk_errors(file):
        if file.is_symlink() or (file.exists() and not file.is_file()):
            file.write_text(text, encoding="utf-8", newline="")  # /dev/stdout must not be replaced
        else:
            with written_aside(file) as aside:
                aside.write_text(text, encoding="utf-8", newline="")
