"""What tests of workers share: evaluators that are sent, logs, and how a log is replayed."""

import os
import time
from collections.abc import Iterator, Sequence
from itertools import groupby

from lanas import LaNAS, LaNASSettings
from lanas.errors import Unavailable, UserError
from lanas.events import SearchLog
from lanas.lines import Lines
from lanas.space import Arch
from lanas.trials import Measurements, Trial
from tests import toys

SPACE = toys.plain(4, 3)


def lanas() -> LaNAS:
    return LaNAS(SPACE, (), LaNASSettings(initial=5), seed=1)


def require_replayed(log: SearchLog) -> None:
    """Of the events on disk every ask is what a search proposes that was told as much."""
    again = SearchLog(log.folder, Measurements(log.measurements.path))
    assert [trial.arch for trial in again.trials] == [trial.arch for trial in log.trials]
    assert len({trial.arch for trial in again.trials}) == len(again.trials)
    lines = Lines(log.folder / "asked.jsonl", lambda record: record).read()
    before: list[Arch] = []
    for told, group in groupby(lines, lambda record: record["told"]):
        asked = [tuple(record["arch"]) for record in group]
        optimiser = lanas()
        optimiser.tell(again.trials[:told])
        done = {trial.arch for trial in again.trials[:told]}
        assert optimiser.ask(len(asked), [arch for arch in before if arch not in done]) == asked
        before += asked


# -- what is sent --------------------------------------------------------------------------------


def toy(threads: int, deadly: Sequence[Arch], seconds: float, big: bytes) -> "Evaluates":
    return Evaluates(set(deadly), seconds, len(big))


class Evaluates:
    """The sum of the options; deadly: at which the process ends. seconds: that each takes."""

    def __init__(self, deadly: set[Arch], seconds: float, size: int) -> None:
        self.deadly, self.seconds, self.size = deadly, seconds, size

    def __call__(self, archs: Sequence[Arch]) -> Iterator[Trial]:
        for arch in archs:
            if arch in self.deadly:
                os._exit(1)
            time.sleep(self.seconds)
            measured = {"score": float(sum(arch)), "bytes": float(self.size)}
            yield Trial(arch, measured | {"pid": float(os.getpid())})


def without_data(threads: int) -> Evaluates:
    raise UserError("there is no image /photos/a.jpg on that machine")


def away(threads: int) -> "Evaluates":
    class Away(Evaluates):
        def __call__(self, archs: Sequence[Arch]) -> Iterator[Trial]:
            raise Unavailable("scoring stopped: CUDA error")

    return Away(set(), 0.0, 0)
