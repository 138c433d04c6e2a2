"""`editar-bench ls models`: what every system can do, and how it is run."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from editar_bench.systems import System

_TASKS = ("edit", "depth", "edge", "segmentation")  # as `types.Task`, which would import NumPy
HEADER = ("model", *_TASKS, "license", "what it is", "from")
FOOTER = (
    "Why not, weights, licenses and settings: editar-bench ls models NAME (or all). "
    "What is not built in is run elsewhere; its pictures can be scored."
)


def overview() -> list[Sequence[str]]:
    """One row a system; imports no model."""
    from editar_bench.registry import MODELS
    from editar_bench.systems import System, adapted, elsewhere

    known = adapted()
    rows: list[Sequence[str]] = []
    for name, entry in MODELS.entries().items():
        system = known.get(name, System()) if entry.origin == "built in" else System()
        can = (answer or "?" for answer in system.can)
        about = entry.summary or "(no description)"
        rows.append((name, *can, system.license, about, entry.origin))
    for name, system in elsewhere().items():
        rows.append((name, *system.can, system.license, system.about, system.route))
    return rows


def print_details(names: Sequence[str]) -> None:
    """A block for each named system.

    Raises:
        UserError: there is no such system.
    """
    from editar_bench.errors import UserError
    from editar_bench.registry import MODELS, near_matches
    from editar_bench.systems import elsewhere

    known = [*MODELS.names(), *elsewhere()]
    for name in names:
        if name not in (*known, "all"):
            raise UserError(f"There is no model '{name}'; {near_matches(name, known)}")
    for name in known if "all" in names else names:
        lines = _adapted(name) if name in MODELS.names() else _elsewhere(elsewhere()[name])
        head, *rest = list(lines)
        typer.echo(f"{name}: {head[1]}")
        for label, text in rest:
            typer.echo(f"  {label:<13} {text}".rstrip())


def _adapted(name: str) -> Iterator[tuple[str, str]]:
    """The lines of a model: a class says what it can do, its constructor what can be set."""
    from editar_bench.registry import MODELS
    from editar_bench.systems import System, adapted
    from editar_bench.types import Task

    entry, factory = MODELS.entries()[name], MODELS.get(name)
    yield "", entry.summary or "(no description)"
    capabilities: Mapping[Task, Any] = getattr(factory, "capabilities", {})
    for task in Task:
        if task in capabilities:
            capability = capabilities[task]
            yield (
                str(task),
                capability.how + (f": {capability.reason}" if capability.reason else ""),
            )
        else:
            yield str(task), "it does not say"
    system = adapted().get(name, System()) if entry.origin == "built in" else System()
    yield "weights", system.weights or ("none" if system.can[0] else "it does not say")
    yield "license", system.license or "-"
    yield "settings", pairs(defaults_of(factory).items()) or "none"
    for protocol, settings in getattr(factory, "presets", {}).items():
        yield f"  {protocol}", pairs(settings.items())


def _elsewhere(system: System) -> Iterator[tuple[str, str]]:
    yield "", system.about
    for task, answer in zip(_TASKS, system.can, strict=True):
        yield task, answer if answer == "native" else f"{answer}: {system.why}"
    yield "weights", system.weights
    yield "license", system.license or "-"
    yield "settings", system.settings or "-"
    if system.layout:
        yield "run by", f"its own repository; then {system.route} --images DIR --name NAME …"


def defaults_of(factory: Any) -> dict[str, Any]:
    """The settings of a model with their defaults; those that its protocol decides are left out."""
    parameters = inspect.signature(factory).parameters.values()
    named = {p.name: p.default for p in parameters if p.kind is not p.VAR_KEYWORD}
    named |= getattr(factory, "defaults", {})
    return {name: value for name, value in named.items() if value is not None}


def pairs(settings: Iterable[tuple[str, Any]]) -> str:
    """Settings as they are typed; texts that are empty, or that a comma would cut, in quotes."""
    from editar_bench.model_names import show

    return ", ".join(f"{name}={show(value)}" for name, value in settings)
