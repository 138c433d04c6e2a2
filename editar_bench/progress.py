"""How a run shows itself: a bar a stage on a terminal, plain lines everywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int], None]


class Reporter(Protocol):
    """What the runner tells about its work."""

    def stage(self, title: str, total: int) -> AbstractContextManager[Advance]:
        """Announce a stage of `total` items; the context's value is called with each number of finished items."""

    def note(self, text: str) -> None:
        """Say one sentence."""


class Silent:
    """Tells nothing; for tests and for callers with a display of their own."""

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Advance]:
        """No display."""
        yield lambda count: None

    def note(self, text: str) -> None:
        """No display."""


class Lines:
    """One line at the end of every stage."""

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Advance]:
        """Print the stage with its time and rate when it ends."""
        start, done = time.perf_counter(), 0

        def advance(count: int) -> None:
            nonlocal done
            done += count

        try:
            yield advance
        finally:
            seconds = time.perf_counter() - start
            rate = f", {done / seconds:.1f}/s" if done and seconds > 0 else ""
            print(f"{title}: {done}/{total} in {seconds:.1f} s{rate}", flush=True)

    def note(self, text: str) -> None:
        """Print the sentence."""
        print(text, flush=True)


class Bars:
    """A bar a stage with rate and time left."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(highlight=False)

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Advance]:
        """Show the bar while the stage runs."""
        from rich import progress

        columns = (
            progress.TextColumn("{task.description:<44}", markup=False),
            progress.BarColumn(bar_width=24),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[rate]:>9}"),
            progress.TimeElapsedColumn(),
            progress.TextColumn("left"),
            progress.TimeRemainingColumn(),
        )
        with progress.Progress(*columns, console=self.console) as bar:
            task = bar.add_task(title, total=total, rate="")

            def advance(count: int) -> None:
                bar.update(task, advance=count)
                speed = bar.tasks[0].finished_speed or bar.tasks[0].speed
                bar.update(task, rate=f"{speed:.1f}/s" if speed else "")

            yield advance

    def note(self, text: str) -> None:
        """Print the sentence above the bars."""
        self.console.print(text, markup=False)


def choose_reporter() -> Reporter:
    """Bars on a terminal, lines in a log."""
    return Bars() if sys.stdout.isatty() else Lines()
