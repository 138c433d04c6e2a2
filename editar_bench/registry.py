"""Names to things: a table of "module:attribute" strings that are imported when somebody asks, and not before.

Plugins add names through entry points (groups `editar_bench.models`, `editar_bench.tasks`, `editar_bench.metrics`).
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from editar_bench import builtin
from editar_bench.errors import UserError

if TYPE_CHECKING:  # the table is read by `ls models`, which has no use for NumPy
    from editar_bench.contracts import Metric, Model, TaskModule

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a name leads: `target` is "module:attribute", or the thing itself when a test registers one."""

    target: Any
    summary: str = ""
    origin: str = "built in"


def near_matches(name: str, known: Iterable[str]) -> str:
    """The end of an error sentence: what the user may have meant, or else everything there is."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"known are: {', '.join(known) or 'none'}."


def load_target(target: str) -> Any:
    """Import "module:attribute", dots in the attribute as in entry points; what is missing becomes one sentence."""
    module_name, _, attribute = target.partition(":")
    try:
        return attrgetter(attribute)(importlib.import_module(module_name))
    except ModuleNotFoundError as error:
        raise UserError(
            f"{target} needs the module '{error.name}', which is not installed; "
            "install the package that provides it or leave this name out."
        ) from error
    except (ImportError, AttributeError) as error:
        raise UserError(f"{target} cannot be loaded: {error}.") from error
    except Exception as error:  # whatever a plugin does when it is imported
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{target} cannot be loaded ({reason}).") from error


def _entries(table: Mapping[str, tuple[str, str]]) -> dict[str, Entry]:
    return {name: Entry(target, summary) for name, (target, summary) in table.items()}


class Registry(Generic[T]):
    """Names of one kind. Entry points are read once, at the first question."""

    def __init__(self, kind: str, group: str, builtin: Mapping[str, Entry]) -> None:
        self.kind = kind
        self.group = group
        self._entries = dict(builtin)
        self._discovered = False

    def entries(self) -> Mapping[str, Entry]:
        """Every name with where it leads; imports nothing."""
        if not self._discovered:
            for point in metadata.entry_points(group=self.group):
                origin = point.dist.name if point.dist else "a plugin"
                self._add(point.name, Entry(point.value, origin=origin))
            self._discovered = True
        return self._entries

    def names(self) -> list[str]:
        """All names in the order of the table, plugins last."""
        return list(self.entries())

    def check(self, name: str) -> str:
        """The name itself; an unknown one is an error that offers near matches."""
        if name not in self.entries():
            raise UserError(f"There is no {self.kind} '{name}'; {near_matches(name, self.names())}")
        return name

    def get(self, name: str) -> T:
        """Import and return what the name stands for."""
        target = self.entries()[self.check(name)].target
        loaded: T = load_target(target) if isinstance(target, str) else target
        return loaded

    def _add(self, name: str, entry: Entry) -> None:
        old = self._entries.get(name)
        if old is not None and old.target != entry.target:
            raise UserError(
                f"Two packages offer a {self.kind} named '{name}': {old.target} ({old.origin}) and "
                f"{entry.target} ({entry.origin}); uninstall one or rename it."
            )
        self._entries[name] = old or entry


MODELS: Registry[Callable[..., Model]] = Registry(
    "model", "editar_bench.models", _entries(builtin.MODELS)
)
TASKS: Registry[Callable[..., TaskModule]] = Registry(
    "task", "editar_bench.tasks", _entries(builtin.TASKS)
)
METRICS: Registry[Callable[[], Metric]] = Registry(
    "metric", "editar_bench.metrics", _entries(builtin.METRICS)
)
