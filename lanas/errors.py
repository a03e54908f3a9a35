"""The one exception that a script answers with one line instead of a traceback."""


class UserError(ValueError):
    """What was given cannot be used. The message is one line: what was given, what is allowed."""


def one_line(error: BaseException) -> str:
    """What a library's error says, for a UserError."""
    return " ".join(str(error).split()) or type(error).__name__
