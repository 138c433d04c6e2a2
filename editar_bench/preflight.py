"""What a run would lack on this machine, found before anything begins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from editar_bench.contracts import Missing
from editar_bench.plan import ModelEntry, metric_names
from editar_bench.registry import METRICS, MODELS, TASKS


@dataclass(frozen=True, slots=True)
class Lacking:
    """Missing pieces: without data and weights nothing can be made, without an evaluator its metrics fail."""

    needed: Sequence[Missing]
    evaluators: Sequence[Missing]


def lacking(keys: Sequence[str], models: Sequence[ModelEntry]) -> Lacking:
    """Look for the data of tasks (by registry name), the weights of models and the networks of metrics.

    Nothing is loaded and no network is asked.
    """
    tasks = [TASKS.get(key)() for key in keys]
    names = dict.fromkeys(name for task in tasks for name in metric_names(task))
    return Lacking(
        needed=[*_pieces(tasks), *(model_piece(m) for m in models if m.missing)],
        evaluators=_pieces(METRICS.get(name)() for name in names),
    )


def model_piece(entry: ModelEntry) -> Missing:
    """The weights of a model that are not here."""
    base = entry.label.partition(":")[0]
    factory = MODELS.get(base)
    fetched = hasattr(factory, "prepare") or hasattr(factory, "download_size")
    return Missing(
        what=f"weights {entry.label}",
        how=f"editar-bench prepare --model {entry.label}" if fetched else "as said below",
        size=getattr(factory, "download_size", None),
    )


def lines(pieces: Sequence[Missing]) -> list[str]:
    """One aligned line a piece: what, how large, what gets it."""
    width = max((len(piece.what) for piece in pieces), default=0)
    return [f"  {p.what:<{width}}  {size_text(p.size):>12}  {p.how}" for p in pieces]


def size_text(size: int | None) -> str:
    """Bytes in decimal units; the numbers of the table are estimates."""
    if size is None:
        return "size unknown"
    if size >= 1e9:
        return f"about {size / 1e9:.1f} GB"
    return f"about {max(size / 1e6, 1):.0f} MB"


def _pieces(things: Iterable[Any]) -> list[Missing]:
    """What the things say they miss, each piece once; most say nothing."""
    found: dict[str, Missing] = {}
    for thing in things:
        for piece in getattr(thing, "missing", tuple)():
            found.setdefault(piece.what, piece)
    return list(found.values())
