"""One line of progress with rate and time left; plain lines where the output is no terminal."""

from __future__ import annotations

import sys
import time

_LINE_SECONDS = 30.0  # between lines where the output is a file


class Progress:
    """Counts steps of known total, of which `done` were made by an earlier call; `note` ends the line."""

    def __init__(self, title: str, total: float, done: float = 0.0) -> None:
        self.title, self.total, self.done = title, total, done
        self._resumed_at = done
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
        gained = self.done - self._resumed_at
        left = spent * max(0.0, self.total - self.done) / gained if gained else float("inf")
        line = f"{self.title}: {100 * min(1.0, self.done / self.total):5.1f} %"
        left_text = f"{left:.0f} s left" if left < float("inf") else "estimating"
        text = f"{line}  {spent:.0f} s spent, {left_text}  {note}".ljust(100)
        print(text, end=end, file=sys.stderr, flush=True)
