"""The command line, called in the test's own process."""

from __future__ import annotations

from typer.testing import CliRunner

from editar_bench.cli import app

RUN = ["run", "--dataset", "dummy", "--task", "depth", "--device", "cpu"]


def call(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(arguments))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr
