"""The exceptions that a script answers with one line instead of a traceback."""

import reprlib
from pathlib import Path
from typing import ClassVar


class UserError(ValueError):
    """What was given cannot be used. The message is one line: what was given, what is allowed.

    status: the exit status of a script that ends by it.
    """

    status: ClassVar[int] = 2


class Unavailable(UserError):
    """A fault that is not the architecture's: data are away, a worker or a device is gone.

    An evaluator raises it instead of giving a failed trial; the search stops and logs none.
    """


class Diverged(UserError):
    """A training whose loss or weights are not finite any more: a fault of what is trained."""


class WorkerDied(Unavailable):
    """A worker died at an architecture, and another takes its place.

    blames: whether the architecture may be why; it is not where a whole machine went away.
    """

    def __init__(self, message: str, *, blames: bool = True) -> None:
        super().__init__(message)
        self.blames = blames


class AllFailed(UserError):
    """Every evaluation of a search failed. traceback: the file with that of the first, if any."""

    status: ClassVar[int] = 1

    def __init__(self, message: str, traceback: Path | None = None) -> None:
        super().__init__(message)
        self.traceback = traceback


def one_line(error: BaseException) -> str:
    """What a library's error says, for a UserError."""
    return " ".join(str(error).split()) or type(error).__name__


def plain(text: object) -> str:
    """A text of the user's or of a folder as it can be shown: what is not seen is written out.

    Control bytes, among them those that move a terminal's cursor, become `\\x1b`, and what turns
    the direction of writing `\\u202e`; so do bytes of a file's name that are no text.
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode()
        for char in str(text)
    )


_short = reprlib.Repr()
_short.maxlevel, _short.maxdict, _short.maxstring, _short.maxother = 3, 4, 60, 60


def short(value: object, most: int = 60) -> str:
    """A value out of a file for a message: at most so many characters, however large it is."""
    try:
        text = _short.repr(value)
    except ValueError:  # a number of thousands of digits
        text = f"{type(value).__name__} of very many digits"
    return text if len(text) <= most else f"{text[:most]}…"


LONGEST = 2000  # characters of a line that says what is wrong


def line_of(error: object) -> str:
    """What an error says as the one line that is shown: visible text, and not without end."""
    text = plain(" ".join(str(error).splitlines()))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
