"""Networks of a search as data to draw them by, which only a process with torch can tell."""

from collections.abc import Iterable, Sequence
from typing import Any

from lanas.errors import line_of
from lanas.space import Arch, arch_id
from lanas.trials import Trial
from supernet.api import common
from supernet.api.problem import Problem
from supernet.run import SearchFolder, write_json

MOST = 24  # networks that are drawn


def keep_drawings(
    problem: Problem, folder: SearchFolder, trials: Sequence[Trial], best: Iterable[Arch]
) -> None:
    """Keep the drawings of the best and of the largest that was tried, where the family draws.

    A family's own fault is said in one line: for a picture no search ends.
    """
    counted = [t for t in trials if t.error is None and "macs" in t.measured]
    archs = [*best]
    if counted:
        archs.insert(0, max(counted, key=lambda trial: trial.measured["macs"]).arch)
    found: dict[str, Any] = {}
    try:
        for arch in archs[:MOST]:
            if (drawing := problem.draw(arch)) is None:
                return
            found[arch_id(arch)] = drawing
    except Exception as error:  # the family may be the user's own
        common.say(line_of(f"no drawings: {error!r:.200}"))
        return
    if found:
        write_json(folder.shown("drawings"), {"drawings": found})
