"""`editar-bench leaderboard`: open the pages in a browser."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from editar_bench.commands import options


def leaderboard(
    out: options.Out = options.DEFAULT_OUT,
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the local web server.")
    ] = 8501,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")
    ] = "localhost",
    headless: Annotated[
        bool, typer.Option("--headless", help="Do not open a browser; print the address only.")
    ] = False,
) -> None:
    """Browse the results in a web browser; Ctrl-C ends it.

    \b
    Examples:
      editar-bench leaderboard
      editar-bench leaderboard --out results/demo --port 8600 --headless
    """
    import subprocess

    from editar_bench import provenance

    app = provenance.HOME / "leaderboard" / "app.py"
    command = [sys.executable, "-m", "streamlit", "run", str(app)]
    command += ["--server.address", host, "--server.port", str(port)]
    command += ["--server.headless", str(headless).lower()]
    command += ["--browser.gatherUsageStats", "false"]
    command += ["--client.toolbarMode", "viewer"]  # nothing to deploy here
    command += ["--", "--out", str(out.resolve())]
    try:
        code = subprocess.run(command, check=False).returncode
    except KeyboardInterrupt:
        code = 0  # the usual way to end it
    raise typer.Exit(code)
