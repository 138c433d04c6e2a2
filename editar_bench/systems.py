"""What is known of every system without importing it: the table behind `editar-bench ls models`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_name("systems.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """One system; only those that no adapter runs say more than the first three fields."""

    can: tuple[str, str, str, str] = ("", "", "", "")  # edit, depth, edge, segmentation
    weights: str = ""
    license: str = ""
    about: str = ""
    why: str = ""  # of every "no" and "zero-shot" among `can`
    settings: str = ""  # as published
    layout: str = (
        ""  # how it writes its pictures, for `editar-bench score`; "" where it makes none to score
    )

    @property
    def route(self) -> str:
        """How a system that no adapter runs comes into the results."""
        if not self.layout:
            return "cannot be scored"
        layout = "" if self.layout == "plain" else f" --layout {self.layout}"
        return f"editar-bench score{layout}"


def adapted() -> Mapping[str, System]:
    """The built-in models, by registry name."""
    return _table()["models"]


def elsewhere() -> Mapping[str, System]:
    """The systems that no adapter runs."""
    return _table()["elsewhere"]


@cache
def _table() -> Mapping[str, Mapping[str, System]]:
    tables = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    return {
        kind: {name: System(**{**row, "can": tuple(row["can"])}) for name, row in rows.items()}
        for kind, rows in tables.items()
    }
