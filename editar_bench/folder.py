"""The check of a folder of finished pictures, before anything is stored."""

from __future__ import annotations

from typing import Any

from editar_bench.errors import UserError
from editar_bench.plan import TaskEntry


def check_pictures(model: Any, entry: TaskEntry, repeats: int) -> None:
    """Open every picture of the wanted samples; missing ones are left for the run to count.

    Args:
        model: the folder adapter.
        entry: the task with its data.
        repeats: pictures a sample.

    Raises:
        UserError: no picture at all, or the first one that is unreadable or has the wrong size.
    """
    examples = entry.module.load()
    found = 0
    for index in range(entry.wanted):
        example = examples[index]
        for repeat in range(repeats):
            if model.has(example, repeat):
                found += 1
                _read(model, example, repeat)
    if not found:
        key = model.key(examples[0])
        raise UserError(
            f"{model.folder} has no picture for any of the {entry.wanted} samples; the files must "
            f"be called {model.layout.pattern}, "
            + (f"such as {key}." if key else "which no sample of this data set can be.")
        )


def _read(model: Any, example: Any, repeat: int) -> None:
    try:
        model.read(example, repeat)
    except UserError as error:
        raise UserError(f"{error} Nothing was stored.") from error
