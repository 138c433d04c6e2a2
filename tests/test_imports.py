"""The house has stairs: which room may import which. Imports inside functions count too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("editar_bench", "models", "tasks", "data_prep", "leaderboard", "tests")

# Longest matching prefix wins. A room may always import itself.
ALLOWED = {
    "editar_bench": (),
    "tasks": ("editar_bench", "data_prep"),
    "models": (
        "editar_bench.types",
        "editar_bench.contracts",
        "editar_bench.errors",
        "editar_bench.files",
    ),
    "models.training": (
        "models",
        "data_prep",
        "editar_bench.types",
        "editar_bench.contracts",
        "editar_bench.errors",
        "editar_bench.files",
        "editar_bench.conditions",
        "editar_bench.evaluators",
    ),
    "data_prep": (
        "editar_bench.types",
        "editar_bench.conditions",
        "editar_bench.errors",
        "editar_bench.files",
    ),
    "leaderboard": (
        "editar_bench.store",
        "editar_bench.statistics",
        "editar_bench.compare",
        "editar_bench.compare_report",
        "editar_bench.tables",  # a number looks the same in a terminal and on a page
        "editar_bench.errors",
    ),
}


def imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names of everything a file imports: `from a import b` gives a.b, since b may be a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the direction"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def under(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def wrong_arrows(module: str, source: str) -> list[str]:
    room = max((p for p in ALLOWED if under(module, p)), key=len)
    fine = (*ALLOWED[room], room.partition(".")[0] if room != "models" else "models")
    found = []
    for name in imported(ast.parse(source)):
        if name.partition(".")[0] not in ROOMS:
            continue
        into_training = under(name, "models.training") and room != "models.training"
        if into_training or not any(under(name, prefix) for prefix in fine):
            found.append(name)
    return found


def files() -> list[Path]:
    return sorted(p for room in ROOMS[:-1] for p in (ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_arrows(path: Path) -> None:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    assert not wrong_arrows(module, path.read_text()), "see ALLOWED above"


@pytest.mark.parametrize(
    ("module", "source", "wrong"),
    [
        ("editar_bench.runner", "import models.editar.codec", ["models.editar.codec"]),
        ("editar_bench.cli", "def f():\n from tasks import edit", ["tasks.edit"]),
        ("models.editar.codec", "from data_prep.scenes import stream", ["data_prep.scenes.stream"]),
        ("models.adapters.editar", "import models.training.trainer", ["models.training.trainer"]),
        ("models.training.trainer", "from data_prep.scenes import stream", []),
        ("models.training.trainer", "from editar_bench.evaluators import clip", []),
        ("models.editar.codec", "from editar_bench.types import Task", []),
        (
            "models.editar.codec",
            "from editar_bench.store import Store",
            ["editar_bench.store.Store"],
        ),
        (
            "leaderboard.app",
            "from editar_bench.registry import MODELS",
            ["editar_bench.registry.MODELS"],
        ),
        ("tasks.edit", "from models.editar import codec", ["models.editar.codec"]),
        ("data_prep.scenes.build", "from tasks import edit", ["tasks.edit"]),
        ("tasks.edit", "import torch\nfrom editar_bench.types import Task", []),
    ],
)
def test_the_test_sees_wrong_arrows(module: str, source: str, wrong: list[str]) -> None:
    assert wrong_arrows(module, source) == wrong
