"""Who evaluates in a search: one evaluator in this thread, or several with a thread each.

Several share what is to be evaluated: whoever is free takes the next, so that a slow one holds
nobody up. A worker that dies costs what it was at, which another is then given; an architecture at
which two have died is a failed trial.
"""

import queue
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from lanas.errors import Unavailable, UserError, WorkerDied
from lanas.space import Arch
from lanas.trials import Trial, failed, finite

DEADLY = 2  # deaths of workers, after which the architecture has failed


class Evaluator(Protocol):
    """Architectures in, trials out, in any order: a table, a supernet on a device, a worker.

    A call may set a device to work before it returns; the next architecture is then asked for
    while the device is at it, where more than one is asked for at a time (`parallel`).
    What it raises makes a failed trial of the architecture; Unavailable says that the fault is not
    the architecture's.
    """

    def __call__(self, archs: Sequence[Arch], /) -> Iterator[Trial]: ...


class Worker(ABC):
    """An evaluator in a process of its own, which may die and be started anew.

    A call raises WorkerDied where the process died, and Unavailable where it is gone for good.
    """

    @abstractmethod
    def ready(self) -> None:
        """Wait until it can take work; raises Unavailable where it never will."""

    @abstractmethod
    def __call__(self, archs: Sequence[Arch], /) -> Iterator[Trial]: ...


# -- one architecture ----------------------------------------------------------------------------


def evaluate(evaluator: Evaluator, arch: Arch) -> Trial:
    """The trial of one architecture, failed where the evaluator raises; Unavailable goes on."""
    start = time.perf_counter()
    return _end(arch, _begin(evaluator, arch), start)


def _begin(evaluator: Evaluator, arch: Arch) -> Iterator[Trial] | Exception:
    """The trials of one architecture, not waited for; or what the evaluator raised."""
    try:
        return evaluator([arch])
    except Unavailable:
        raise
    except Exception as error:
        return error


def _end(arch: Arch, begun: Iterator[Trial] | Exception, start: float) -> Trial:
    try:
        if isinstance(begun, Exception):
            raise begun
        found = list(begun)
        if [trial.arch for trial in found] != [arch]:
            raise ValueError(f"asked for {arch}, the evaluator gave {[t.arch for t in found]}")
        return finite(found[0])
    except Unavailable:
        raise
    except Exception as error:  # one architecture that fails must not stop the search
        return failed(arch, error, time.perf_counter() - start)


# -- one evaluator -------------------------------------------------------------------------------


class Alone:
    """One evaluator, in this thread: an interrupt stops it at once."""

    several = False

    def __init__(self, evaluator: Evaluator) -> None:
        self.evaluator = evaluator
        self.arch: Arch | None = None

    @property
    def free(self) -> bool:
        """Whether it has nothing to do."""
        return self.arch is None

    @property
    def at_work(self) -> int:
        """How many architectures are being evaluated."""
        return 0 if self.arch is None else 1

    def has(self, arch: Arch) -> bool:
        """Whether it is at this architecture."""
        return self.arch == arch

    def start(self, arch: Arch) -> None:
        """Begin with this one."""
        self.arch, self.since = arch, time.perf_counter()
        self.begun = _begin(self.evaluator, arch)

    def wait(self) -> list[Trial]:
        """The trial; raises Unavailable where the evaluator is gone."""
        assert self.arch is not None
        arch, self.arch = self.arch, None
        return [_end(arch, self.begun, self.since)]


# -- several -------------------------------------------------------------------------------------


class _Gone(NamedTuple):
    """An evaluator that takes no more work."""

    number: int
    why: Unavailable


Answer = Trial | str | _Gone | BaseException


class Team:
    """Several evaluators, a thread each. What they have not begun with waits in one line."""

    several = True
    free = True  # what none of them has time for waits

    def __init__(self, evaluators: Sequence[Evaluator], say: Callable[[str], None]) -> None:
        self.say, self.count, self.left = say, len(evaluators), len(evaluators)
        self.answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self.over: BaseException | None = None  # raised once all trials are handed over
        self.given: set[Arch] = set()  # and not answered yet
        self.waiting: deque[Arch] = deque()
        self.deaths: Counter[Arch] = Counter()
        self.changed, self.ended = threading.Condition(), False
        for each in enumerate(evaluators):
            threading.Thread(target=self._work, args=each, daemon=True).start()

    @property
    def at_work(self) -> int:
        """How many architectures are being evaluated, or wait to be."""
        return len(self.given)

    def has(self, arch: Arch) -> bool:
        """Whether it is among them."""
        return arch in self.given

    def start(self, arch: Arch) -> None:
        """Give this one to the first that is free."""
        self.given.add(arch)
        with self.changed:
            self.waiting.append(arch)
            self.changed.notify()

    def wait(self) -> list[Trial]:
        """All trials that have come back since, none where only an evaluator is gone.

        Raises Unavailable where the last one is gone, and what a thread raised.
        """
        if self.over is not None:
            raise self.over
        answers = [self.answers.get()]
        while not self.answers.empty():
            answers.append(self.answers.get())
        found = [answer for answer in answers if isinstance(answer, Trial)]
        self.given -= {trial.arch for trial in found}
        for answer in answers:
            if isinstance(answer, str):
                self.say(answer)
            elif isinstance(answer, _Gone):
                self._count_out(answer)
            elif not isinstance(answer, Trial):
                self.over = answer
        if self.over is not None and not found:
            raise self.over
        return found

    def end(self) -> None:
        """Let the threads end that have nothing to do; what others are at is not waited for."""
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def _count_out(self, gone: _Gone) -> None:
        self.left -= 1
        if not self.left:
            self.over = self.over or gone.why
            return
        self.say(
            f"evaluator {gone.number + 1} of {self.count} is gone: {gone.why}; "
            f"what it was at goes to the {self.left} left"
        )

    # -- in the threads --------------------------------------------------------------------------

    def _work(self, number: int, evaluator: Evaluator) -> None:
        try:
            while True:
                if isinstance(evaluator, Worker):
                    evaluator.ready()
                if (arch := self._take()) is None:
                    return
                self.answers.put(self._answer(number, evaluator, arch))
        except Unavailable as error:
            self.answers.put(_Gone(number, error))
        except BaseException as error:  # what a thread raises no one would see
            self.answers.put(error)

    def _answer(self, number: int, evaluator: Evaluator, arch: Arch) -> Trial | str:
        start = time.perf_counter()
        try:
            return evaluate(evaluator, arch)
        except WorkerDied as died:
            self.deaths[arch] += died.blames  # nobody else has this architecture
            if self.deaths[arch] >= DEADLY:
                return failed(arch, died, time.perf_counter() - start)
            self._put_back(arch)
            who = f"worker {number + 1} of {self.count}"
            return f"{who} died ({died}); what it was at is evaluated again"
        except Unavailable:
            self._put_back(arch)
            raise

    def _take(self) -> Arch | None:
        """The next architecture, waited for; None at the end."""
        with self.changed:
            self.changed.wait_for(lambda: self.ended or self.waiting)
            return None if self.ended else self.waiting.popleft()

    def _put_back(self, arch: Arch) -> None:
        with self.changed:
            self.waiting.appendleft(arch)
            self.changed.notify()


def each(
    workers: Sequence[Evaluator], archs: Sequence[Arch], say: Callable[[str], None] = print
) -> Iterator[Trial]:
    """The trials of architectures, each a different one, as they come back; see `Team.wait`.

    One evaluator alone answers in this thread, in their order.
    """
    if len(workers) == 1 and not isinstance(workers[0], Worker):
        yield from workers[0](archs)
        return
    team = Team(workers, say)
    try:
        for arch in archs:
            team.start(arch)
        while team.at_work:
            yield from team.wait()
    finally:
        team.end()


@contextmanager
def team_of(
    evaluators: Sequence[Evaluator], say: Callable[[str], None] = print
) -> Iterator[Team | Alone]:
    """Those who evaluate while the block runs; UserError where there are none."""
    if not evaluators:
        raise UserError("no evaluator is given; a search needs one or more")
    if len(evaluators) == 1 and not isinstance(evaluators[0], Worker):
        yield Alone(evaluators[0])
        return
    team = Team(evaluators, say)
    try:
        yield team
    finally:
        team.end()
