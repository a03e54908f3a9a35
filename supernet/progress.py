"""How far work is, and the time that all of it will still take.

    with Progress("trial", 200, done=40) as progress:
        progress.update(41, "best 93.2 %")

A live line in a terminal; elsewhere (a log file, a cluster, CI) a plain line at most every ten
seconds: `trial 41/200, best 93.2 %, 12 min left`.
"""

import sys
import time
from types import TracebackType
from typing import Any, Self

EVERY = 10.0  # seconds between two plain lines


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3 h 20 min`, `2 d 4 h`."""
    whole = max(0, round(seconds))
    if whole < 120:
        return f"{whole} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"


def counted(number: int, noun: str) -> str:
    """`1 epoch`, `1,200 epochs`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


class Progress:
    """Says how far work is that has `total` units of `what`, `done` of them finished before.

    state: what stands in the middle of the line at first.
    """

    def __init__(self, what: str, total: int, done: float = 0, state: str = "") -> None:
        self.what, self.total, self.before, self.state = what, total, done, state
        self.start = self.said = time.monotonic()
        self.live: Any = None

    def update(self, done: float, state: str | None = None) -> None:
        """`done` units are finished, a part of the next one perhaps; state: None as before."""
        if state is not None:
            self.state = state
        if self.live is not None:
            self.live.update(self.task, completed=done, said=self._said(done, left_first=True))
            return
        now = time.monotonic()
        if now - self.said >= EVERY and done > self.before:
            print(self._said(done), flush=True)
            self.said = now

    def left(self, done: float) -> float | None:
        """Seconds until all is done, at the mean speed since the start; None before any is."""
        if done <= self.before:
            return None
        return (self.total - done) * (time.monotonic() - self.start) / (done - self.before)

    def _said(self, done: float, *, left_first: bool = False) -> str:
        """The line; left_first: for a terminal, where what has no room is what stands last."""
        left = self.left(done)
        count = f"{done:.1f}" if done != int(done) else f"{int(done)}"
        parts = [self.state, "" if left is None else f"{duration(left)} left"]
        parts = parts[::-1] if left_first else parts
        return ", ".join([f"{self.what} {count}/{self.total}", *(part for part in parts if part)])

    def __enter__(self) -> Self:
        if sys.stdout.isatty():
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Live

            column = TextColumn("{task.fields[said]}", markup=False)
            self.live = Live(column, BarColumn(bar_width=20), refresh_per_second=2)
            said = self._said(self.before, left_first=True)
            self.task = self.live.add_task("", total=self.total, completed=self.before, said=said)
            self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.live is not None:
            self.live.stop()
