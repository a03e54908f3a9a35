"""What the machine does to a script: memory, closed outputs, a second Ctrl-C."""

import os
import select
import signal
import sys
from io import TextIOWrapper
from pathlib import Path
from types import FrameType

from lanas.errors import UserError, one_line

# -- errors that are the machine's ---------------------------------------------------------------

OUT_OF_MEMORY = (
    *("out of memory", "can't allocate memory", "Unable to allocate", "bad_alloc"),
    "failed to map segment",  # of a library, when it is imported
)
SMALLER = {
    "train": "a smaller --batch-size, --image-size or --width, or more of --accumulate",
    "search": "fewer --calibration-images or another --device",
    "retrain": "a smaller --batch-size, or more of --accumulate",
}


def fault(error: Exception) -> str | None:
    """One line for an error that is the machine's and no OSError; None for any other.

    torch raises a RuntimeError of its own where memory, threads or open files run out.
    """
    text = one_line(error)
    if isinstance(error, MemoryError) or any(words in text for words in OUT_OF_MEMORY):
        return f"out of memory ({text:.200}); take {smaller()}"
    if "Too many open files" in text:
        return f"too many open files ({text:.200}); allow more (ulimit -n 4096), or --workers 0"
    if "can't start new thread" in text:
        return f"the system starts no more threads ({text:.200}); take fewer --threads"
    return None


def smaller() -> str:
    """What takes less memory, by the flags of this script."""
    name = Path(sys.argv[0]).stem
    found = [flags for verb, flags in SMALLER.items() if name in (verb, f"lanas-{verb}")]
    return found[0] if found else SMALLER["train"]


# -- outputs that are closed ---------------------------------------------------------------------


def open_outputs() -> None:
    """Give what was closed (`>&-`) a place to go, and let no letter be one that cannot be said.

    A closed descriptor is the next one that is opened: a file of the run would take what some
    library writes to standard output.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names in UTF-8 in a terminal of ASCII


def require_here() -> None:
    """UserError where the current directory was removed: libraries end the process over it."""
    try:
        os.getcwd()
    except OSError as error:
        raise UserError(
            f"the current directory is gone ({error.strerror}): cd to another"
        ) from None


def unread() -> list[int]:
    """Which of standard output (1) and error (2) nobody reads any more, as after `| head`."""
    if sys.platform == "win32":
        return [1]
    poll = select.poll()
    for number in (1, 2):
        poll.register(number, 0)
    return [number for number, event in poll.poll(0) if event & select.POLLERR]


def drop(outputs: list[int]) -> None:
    """Let nothing more be written there: at the exit it would raise again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in outputs:
        os.dup2(nowhere, number)


# -- Ctrl-C --------------------------------------------------------------------------------------


class Interrupts:
    """The first Ctrl-C or SIGTERM stops a script as an exception does, the second at once.

    Files are written aside and renamed, so that nothing is lost by the second either.
    """

    def __init__(self, script: str) -> None:
        self.script, self.process, self.asked = script, os.getpid(), False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            if os.getpid() == self.process:  # and not a worker that was forked off it
                line = f"\n{self.script}: stopped at once; the same command goes on from here\n"
                os.write(2, line.encode())
            os._exit(130)
        self.asked = True
        raise KeyboardInterrupt

    def listen(self) -> None:
        """Take Ctrl-C and SIGTERM from now on; Ctrl-C stays ignored where a shell has said so."""
        signal.signal(signal.SIGTERM, self)
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self)
