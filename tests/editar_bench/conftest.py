"""The dummies of `dummies.py`, registered for tests that ask for `dummies`, and as a plugin for subprocesses."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from editar_bench import registry
from editar_bench.model_names import parse_models
from editar_bench.plan import build_models, make_plan
from editar_bench.progress import Advance, Silent
from editar_bench.registry import Entry
from editar_bench.runner import Summary, run
from editar_bench.types import RunSpec, Task
from tests.editar_bench import dummies as d

ROOT = Path(__file__).parents[2]
HERE = "tests.editar_bench.dummies"


def register_dummies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dummy tasks, models and metrics by name; `codec` and `shuffled` are dummies too."""
    models = d.MODELS | {"codec": d.Codec, "shuffled": d.Shuffled}
    tables = ((registry.MODELS, models), (registry.TASKS, d.TASKS), (registry.METRICS, d.METRICS))
    for table, things in tables:
        table.entries()
        for name, thing in things.items():
            monkeypatch.setitem(table._entries, name, Entry(thing))


def run_models(
    out: Path, models: str, tasks: tuple[Task, ...] = (Task.DEPTH,), **options: object
) -> Summary:
    """Run registered dummies on the dummy data; keyword arguments are those of RunSpec."""
    entries = build_models(parse_models(models))
    labels = tuple(entry.label for entry in entries)
    spec = RunSpec(suite="dummy", datasets=("dummy",), tasks=tasks, models=labels, **options)  # type: ignore[arg-type]
    return run(make_plan(spec, "cpu", entries), out, Silent())


class Stopping(Silent):
    """Ctrl-C when the first pictures are there."""

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Advance]:
        """Interrupts the generate stage."""

        def advance(count: int) -> None:
            if "generate" in title:
                raise KeyboardInterrupt

        yield advance


@pytest.fixture
def dummies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dummies by name."""
    register_dummies(monkeypatch)


@pytest.fixture
def run_dummies(dummies: None, tmp_path: Path) -> Callable[..., Summary]:
    """Run models on the dummy data, as `run_models` does, into a folder of the test's own."""
    return partial(run_models, tmp_path / "out")


@pytest.fixture
def plugin(tmp_path: Path) -> dict[str, str]:
    """Environment in which the dummies are an installed plugin."""
    folder = tmp_path / "site" / "editar_bench_dummies-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: editar-bench-dummies\nVersion: 1.0\n"
    )
    lines = []
    for group, things in (("models", d.MODELS), ("tasks", d.TASKS), ("metrics", d.METRICS)):
        lines.append(f"[editar_bench.{group}]")
        lines += [f"{name} = {HERE}:{thing.__name__}" for name, thing in things.items()]
    (folder / "entry_points.txt").write_text("\n".join(lines) + "\n")
    path = os.pathsep.join((str(tmp_path / "site"), str(ROOT)))
    return os.environ | {"PYTHONPATH": path, "DUMMY_LOG": str(tmp_path / "calls.txt")}
