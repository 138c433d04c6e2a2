"""`editar-bench doctor`: what is installed, what each model needs, what is missing."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import typer

from editar_bench.commands import options

if TYPE_CHECKING:
    from editar_bench.contracts import Missing


def doctor(out: options.Out = options.DEFAULT_OUT) -> None:
    """Say what is installed, what each model needs, and what is missing.

    Exit code 1: something that the default suite needs is missing.
    """
    from editar_bench import provenance
    from editar_bench.devices import resolve_device
    from editar_bench.errors import UserError
    from editar_bench.suites import choose_suite, task_keys
    from editar_bench.types import Task

    typer.echo(f"editar-bench {_flat(provenance.code_version())}")
    try:
        provenance.check_rooms()
        device = resolve_device("auto")
        typer.echo(f"machine  {_flat(provenance.hardware(device))}")
    except (UserError, ModuleNotFoundError) as error:
        typer.echo(f"machine  {error}")
    good = _packages()
    _disk(out)
    default = choose_suite(None, None)
    needed = {f"task {key}" for key in task_keys(list(Task), default.datasets)}
    needed |= {f"model {name}" for name in default.models}
    for name, problem in _tasks() + _evaluators() + _models():
        good &= not problem or name not in needed
        typer.echo(f"{'missing' if problem else 'ok':<8} {name}{': ' + problem if problem else ''}")
    if not good:
        raise typer.Exit(1)


def _flat(record: dict[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in record.items())


def _packages() -> bool:
    from editar_bench.provenance import PACKAGES, package_versions

    found = package_versions()
    typer.echo("packages " + ", ".join(f"{name} {version}" for name, version in found.items()))
    missing = [name for name in PACKAGES if name not in found]
    if missing:
        typer.echo(f"missing  packages: {', '.join(missing)}")
    return not missing


def _disk(out: options.Out) -> None:
    from editar_bench.evaluators.feature_files import FOLDER, size_of

    place = next(p for p in (out.resolve(), *out.resolve().parents) if p.exists())
    typer.echo(f"disk     {shutil.disk_usage(place).free / 2**30:.1f} GiB free for {out}")
    if kept := size_of(out / FOLDER):
        typer.echo(f"features {kept / 2**30:.2f} GiB in {out / FOLDER}, which may be deleted")


def _tasks() -> list[tuple[str, str]]:
    from editar_bench.errors import UserError
    from editar_bench.preflight import lacking
    from editar_bench.registry import TASKS

    found = []
    for name in TASKS.names():
        try:
            needed = lacking([name], ()).needed
            found.append((f"task {name}", "; ".join(map(_piece, needed))))
        except UserError as error:
            found.append((f"task {name}", str(error)))
    return found


def _evaluators() -> list[tuple[str, str]]:
    """The released networks that are not here."""
    from editar_bench.preflight import lacking
    from editar_bench.registry import TASKS

    return [(piece.what, _piece(piece)) for piece in lacking(TASKS.names(), ()).evaluators]


def _piece(piece: Missing) -> str:
    from editar_bench.preflight import size_text

    return f"{size_text(piece.size)}, {piece.how}"


def _models() -> list[tuple[str, str]]:
    from editar_bench.model_names import ModelRef
    from editar_bench.plan import build_models
    from editar_bench.registry import MODELS

    built = build_models([ModelRef(name) for name in MODELS.names()])
    return [(f"model {entry.label}", entry.reason) for entry in built]
