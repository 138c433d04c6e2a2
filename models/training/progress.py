"""One line of progress with rate and time left; plain lines where the output is no terminal."""

from __future__ import annotations

import sys
import time

_LINE_SECONDS = 30.0  # between lines where the output is a file


class Progress:
    """Counts steps of known total; `note` is shown at the end of the line."""

    def __init__(self, title: str, total: float) -> None:
        self.title, self.total, self.done = title, total, 0.0
        self._started = self._shown = time.monotonic()
        self._terminal = sys.stderr.isatty()

    def step(self, amount: float, note: str = "") -> None:
        """Advance by `amount` and show the line if the last one is old enough."""
        self.done += amount
        now = time.monotonic()
        if now - self._shown < (0.2 if self._terminal else _LINE_SECONDS):
            return
        self._shown = now
        self._print(now, note, "\r" if self._terminal else "\n")

    def close(self, note: str = "") -> None:
        """Print the last line."""
        self._print(time.monotonic(), note, "\n")

    def _print(self, now: float, note: str, end: str) -> None:
        spent = now - self._started
        left = spent * (self.total - self.done) / self.done if self.done else float("inf")
        line = f"{self.title}: {100 * min(1.0, self.done / self.total):5.1f} %"
        left_text = f"{left:.0f} s left" if left < float("inf") else "estimating"
        print(f"{line}  {spent:.0f} s spent, {left_text}  {note}".ljust(100), end=end, file=sys.stderr, flush=True)
