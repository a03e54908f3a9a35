"""The exceptions that a script answers with one line instead of a traceback."""

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


class AllFailed(UserError):
    """Every evaluation of a search failed. traceback: the file with that of the first, if any."""

    status: ClassVar[int] = 1

    def __init__(self, message: str, traceback: Path | None = None) -> None:
        super().__init__(message)
        self.traceback = traceback


def one_line(error: BaseException) -> str:
    """What a library's error says, for a UserError."""
    return " ".join(str(error).split()) or type(error).__name__
