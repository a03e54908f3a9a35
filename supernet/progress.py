"""Plain lines of progress for where the output is no terminal: a log file, a cluster, CI."""

import time

EVERY = 10.0  # seconds between two lines


class PlainLines:
    """Prints `epoch 12/60, loss 0.21, 40 s left`, at most every ten seconds.

    what: a unit of the work; done: units that were finished before.
    """

    def __init__(self, what: str, total: int, done: int = 0) -> None:
        self.what, self.total, self.before = what, total, done
        self.start = self.said = time.monotonic()

    def update(self, done: int, state: str) -> None:
        """`done` units are finished; `state` is what stands in the middle of the line."""
        now = time.monotonic()
        if now - self.said >= EVERY and done > self.before:
            left = (self.total - done) * (now - self.start) / (done - self.before)
            print(f"{self.what} {done}/{self.total}, {state}, {left:.0f} s left", flush=True)
            self.said = now
