"""How a script ends: what the user can mend is one line, without a traceback."""

import os
import signal
import sys
from collections.abc import Callable

from lanas.errors import UserError, one_line
from supernet.spaces import own


def main(body: Callable[[], None]) -> None:
    """Run a script: what the user can mend is one line and exit status 2, no traceback.

    Exit status 1 where every evaluation of a search failed (`lanas.errors.AllFailed`).

    Ctrl-C and SIGTERM stop it with one line and exit status 130.
    """
    # torch's threads spin while they wait, and forward and backward have a set each: on a machine
    # with other work a step takes a hundred times longer. Read when torch is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    script = sys.argv[0].rsplit("/", 1)[-1]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        body()
    except (UserError, OSError) as error:
        print(f"{script}: error: {' '.join(str(error).splitlines())}", file=sys.stderr)
        sys.exit(error.status if isinstance(error, UserError) else 2)
    except Exception as error:
        line = out_of_memory(error) or own.blamed(error)
        if line is None:
            raise
        print(f"{script}: error: {line}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        after = "\n" if sys.stderr.isatty() else ""  # the ^C that a terminal shows
        print(f"{after}{script}: stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(130)


def out_of_memory(error: Exception) -> str | None:
    """One line for an error of a machine with too little memory; None for any other.

    torch raises a RuntimeError of its own where the processor's memory is meant.
    """
    text = one_line(error)
    words = ("out of memory", "can't allocate memory", "Unable to allocate")
    if not isinstance(error, MemoryError) and not any(word in text for word in words):
        return None
    return f"out of memory ({text:.200}); take a smaller --batch-size, --image-size or --width"
