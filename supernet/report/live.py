"""The page while a script runs and at its end: written by a process of its own, without torch.

    with live.page("runs/digits"):
        ...                            # RUN/report.html at most once a minute, and at the end

Nothing of it ends a script: what is missing, or fails, is one line.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lanas.errors import AllFailed, UserError, line_of, plain
from supernet.process import rank
from supernet.report import scripts

EVERY = 60.0  # seconds between two pages, at least
LONGEST = 120.0  # seconds that a script waits for the last one
NAME = "report.html"


@contextmanager
def page(run: str | Path, on: bool = True, *, aside: bool = False) -> Iterator[None]:
    """Keep the page of a run up to date for the time of the block.

    on: False for none. aside: say where it lies on standard error. Of several processes the first
    alone writes. A command that is refused, and one that fails, leave the page as it is; one that
    is stopped, or whose evaluations all fail, brings it up to date without being waited for.
    """
    if not on or rank():
        yield
        return
    out = sys.stderr if aside else sys.stdout
    try:
        scripts.versions()
    except UserError as error:
        yield
        if not rank():
            print(line_of(error), file=out, flush=True)
        return
    writer = _Writer(Path(run))
    writer.thread.start()
    try:
        yield
    except (KeyboardInterrupt, AllFailed):
        writer.stop()
        writer.begin()
        raise
    except BaseException:
        writer.stop()
        raise
    writer.stop()
    if not rank():
        print(plain(writer.last()), file=out, flush=True)


class _Writer:
    """Begins a process that writes the page, one at a time."""

    def __init__(self, run: Path) -> None:
        self.run, self.over = run, threading.Event()
        self.child: subprocess.Popen[str] | None = None
        self.thread = threading.Thread(target=self._keep, name="report", daemon=True)

    def _keep(self) -> None:
        while not self.over.wait(EVERY):
            if not rank() and self.run.is_dir():
                self.begin()

    def begin(self) -> None:
        """Begin to write, unless the last one is still at it."""
        if self.child is None or self.child.poll() is not None:
            with suppress(OSError):
                self.child = begin(self.run)

    def stop(self) -> None:
        """No further pages."""
        self.over.set()
        self.thread.join()

    def last(self) -> str:
        """Write the page of what is there now; the line that says so."""
        try:
            if self.child is not None:
                self.child.communicate(timeout=LONGEST)
            self.child = begin(self.run)
            said, wrong = self.child.communicate(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            return (
                f"report: not finished after {LONGEST:.0f} s; python -m supernet.report {self.run}"
            )
        except OSError as error:
            return f"no report: {error.strerror}"
        if self.child.returncode:
            return f"no report: {line_of((wrong or said).strip() or 'it was ended')}"
        return f"report: {self.run / NAME}"


def begin(run: Path) -> "subprocess.Popen[str]":
    """The process that writes RUN/report.html, with less priority than what it tells of."""
    root = str(Path(__file__).parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "supernet.report", str(run), "--background"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,  # Ctrl-C is for the script
    )
