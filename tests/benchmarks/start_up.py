"""How long the command takes to answer: `python -m tests.benchmarks.start_up`.

The ratio is to a bare Python that imports typer, the least that any typer command can take.
"""

from __future__ import annotations

import subprocess
import sys
import time

COMMANDS = {
    "python, import typer": ["-c", "import typer"],
    "editar-bench --help": ["-m", "editar_bench.cli", "--help"],
    "editar-bench ls models": ["-m", "editar_bench.cli", "ls", "models"],
}
ROUNDS = 7


def best_seconds(arguments: list[str]) -> float:
    """The fastest of several runs: others only measure what else the machine did."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Print seconds and ratios."""
    seconds = {name: best_seconds(arguments) for name, arguments in COMMANDS.items()}
    base = next(iter(seconds.values()))
    for name, value in seconds.items():
        print(f"{name:26} {value:6.3f} s   {value / base:5.2f} ×")


if __name__ == "__main__":
    main()
