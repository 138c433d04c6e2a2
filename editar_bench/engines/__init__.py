"""Engines carry batches through the stages; they know nothing about models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, TypeVar

from editar_bench.errors import UserError

B = TypeVar("B")
R = TypeVar("R")
ENGINES = ("local", "ray")


class Engine(Protocol):
    """What carries a run's batches."""

    def map(self, stage: Callable[[], Callable[[B], R]], batches: Iterable[B]) -> Iterator[R]:
        """Build the stage where the work is done and yield its answer to each batch, in any order."""


def check_engine(name: str, device: str) -> None:
    """Refuse an engine that does not exist, whose package is not installed or that cannot use the device."""
    if name not in ENGINES:
        raise UserError(f"There is no engine '{name}'; known are: {', '.join(ENGINES)}.")
    if name == "ray" and find_spec("ray") is None:
        raise UserError(
            "--engine ray needs the package 'ray', which is not installed; run "
            "`pip install 'editar-bench[ray]'`."
        )
    if name == "ray" and device.startswith("cuda:"):
        raise UserError(
            f"With --engine ray every worker has a GPU of its own, not '{device}'; write --device cuda."
        )


def make_engine(name: str, out: Path, device: str, *, shared: bool = True) -> Engine:
    """The engine of a run.

    Args:
        name: one of `ENGINES`.
        out: the results folder.
        device: what the stages work on.
        shared: every worker must see that folder.
    """
    if name == "ray":
        from editar_bench.engines.ray import RayEngine

        return RayEngine(out, device, shared=shared)
    from editar_bench.engines.local import LocalEngine

    return LocalEngine()
