"""How a script ends: what the user can mend is one line, without a traceback."""

import os
import sys
from collections.abc import Callable

from lanas.errors import UserError, line_of
from supernet.cli import machine
from supernet.process import undisturbed
from supernet.spaces import own


def main(body: Callable[[], None]) -> None:
    """Run a script: what the user can mend is one line and exit status 2, no traceback.

    Exit status 1 where every evaluation of a search failed (`lanas.errors.AllFailed`).

    Ctrl-C and SIGTERM stop it with one line and exit status 130, a second one at once. Where
    nobody reads its output any more, as after `| head`, it ends without a word by status 141, as a
    program does that SIGPIPE ends.
    """
    # torch's threads spin while they wait, and forward and backward have a set each: on a machine
    # with other work a step takes a hundred times longer. Read when torch is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    machine.open_outputs()
    script = os.path.basename(sys.argv[0])
    machine.Interrupts(script).listen()
    try:
        with undisturbed():
            _all_of(body)
    except BrokenPipeError as error:
        if not (outputs := machine.unread()):
            end(script, str(error))
        machine.drop(outputs)
        sys.exit(141)
    except (UserError, OSError) as error:
        end(script, str(error), error.status if isinstance(error, UserError) else 2)
    except Exception as error:
        line = machine.fault(error) or own.blamed(error)
        if line is None:
            raise
        end(script, line)
    except KeyboardInterrupt:
        after = "\n" if sys.stderr.isatty() else ""  # the ^C that a terminal shows
        print(f"{after}{script}: stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(130)


SCRIPTS = {"train": "train_supernet.py", "search": "search.py", "retrain": "retrain.py"}


def typed(verb: str) -> str:
    """How a user who typed this command types that of another verb: a script, or `lanas-VERB`."""
    if os.path.basename(sys.argv[0]).startswith("lanas-"):
        return f"lanas-{verb}"
    return f"python {SCRIPTS[verb]}"


def prog(verb: str) -> str:
    """The name of this command in its help."""
    return typed(verb).removeprefix("python ")


def _all_of(body: Callable[[], None]) -> None:
    """Run the body, and hand over what it has printed while an error can still be answered."""
    machine.require_here()
    try:
        body()
    except SystemExit:  # of --help
        sys.stdout.flush()
        raise
    sys.stdout.flush()


def end(script: str, said: str, status: int = 2) -> None:
    """Say in one line what is wrong, and end."""
    print(f"{script}: error: {line_of(said)}", file=sys.stderr)
    sys.exit(status)
