"""Checkpoints whose pickle holds more than tensors, read without the packages that wrote it.

OpenMMLab's files carry settings and logs as objects of its own classes. Every name that a pickle asks for, other than
torch's own harmless ones, is answered by a class that does nothing; so nothing of the file's choosing is ever imported
or run, and what is kept are the tensors.
"""

from __future__ import annotations

import pickle
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from editar_bench.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

_OLD_FORMAT = 4  # pickles in a row before the data: magic number, version, system, content


class Nothing:
    """Stands for an object that is not wanted: takes whatever it is built with, and keeps none of it."""

    def __new__(cls, *arguments: Any, **named: Any) -> Nothing:
        """Ignore everything."""
        return super().__new__(cls)

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """Ignore everything."""

    def __setstate__(self, state: Any) -> None:
        """Ignore everything."""


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint's `state_dict`, or of the checkpoint itself where it is one.

    Raises:
        UserError: it cannot be read so, or holds no tensors.
    """
    import torch

    try:
        stubs: list[Any] = [(_stub(name), name) for name in sorted(asked_for(path))]
        with torch.serialization.safe_globals(stubs):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise UserError(
            f"The checkpoint {path} cannot be read without running what it brings along "
            f"({type(error).__name__}); fetch the published file."
        ) from error
    state = content.get("state_dict", content) if isinstance(content, dict) else {}
    tensors = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise UserError(f"The checkpoint {path} holds no tensors; fetch the published file.")
    return tensors


def asked_for(path: Path) -> set[str]:
    """Names ("module.attribute") that the pickles of a checkpoint ask for, torch's own left out; runs nothing."""
    names: set[str] = set()
    for stream in _pickles(path):
        for operation, argument, _ in pickletools.genops(stream):
            if operation.name == "GLOBAL":
                names.add(str(argument).replace(" ", ".", 1))
    return {name for name in names if not name.startswith(("torch.", "collections.OrderedDict"))}


def _pickles(path: Path) -> Iterator[IO[bytes]]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith("data.pkl"):
                    with archive.open(name) as stream:
                        yield stream
        return
    with path.open("rb") as stream:
        for _ in range(_OLD_FORMAT):
            yield stream


def _stub(name: str) -> type[Nothing]:
    return type(name.rpartition(".")[2], (Nothing,), {})
