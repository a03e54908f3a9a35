"""What a device tells of architectures, latency and energy: measured, fitted, and reported."""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lanas.costs import Cost
from lanas.errors import UserError
from lanas.events import Searched, SearchLog
from lanas.optimiser import Optimiser
from lanas.rank import ranked
from lanas.scores import Score
from lanas.space import Arch, as_tuples
from lanas.trials import Trial, key_of
from supernet.api import common
from supernet.cli.settings import SearchSettings
from supernet.progress import Progress
from supernet.run import Run, SearchFolder

if TYPE_CHECKING:
    from supernet.network import Supernet
    from supernet.score.latency.clock import Clock
    from supernet.score.latency.fitting import Fit

UNITS = {"latency": "ms", "energy": "mJ"}
CLOCK = ("latency_engine", "latency_batch", "latency_archs", "inexact_budget")  # settings of both
ROUNDS = 3  # figures of an architecture that is reported, of which the least counts
REPORTED = 10  # best trials whose figures are measured, within the budget

# -- one cost of a device ----------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Told:
    """Latency or energy: what is predicted of architectures, and what measures them.

    cost: a sum of tables, in the cost's unit. fitted: where it comes from; None for a table of
    options. measure: an architecture's own figure; None where its device is not this one. known:
    figures that were measured elsewhere. limit: the budget on it.
    """

    cost: Cost
    fitted: "Fit | None" = None
    measure: Callable[[Arch], float] | None = None
    known: Mapping[Arch, float] = field(default_factory=dict)
    limit: float | None = None

    @property
    def own_name(self) -> str:
        """The name of its figures among what was measured of an architecture."""
        return f"measured_{self.cost.name}"

    def of(self, arch: Arch) -> float | None:
        """The figure of an architecture, measured; None where nothing here can tell."""
        if arch in self.known or self.measure is None:
            return self.known.get(arch)
        return min(self.measure(arch) for _ in range(ROUNDS))


def of_device(
    name: str,
    run: Run,
    args: SearchSettings,
    supernet: "Supernet",
    folder: SearchFolder,
    macs: Cost,
    device: str,
    limit: float | None,
) -> Told:
    """The latency or energy of a device: read, measured, or as it was when the search began."""
    kept = folder.fit(name)
    if name == "latency" and args.latency_table:
        told = _of_table(args, supernet, macs)
    elif kept.is_file():
        told = _gone_on(name, args, supernet, kept, device)
    else:
        clock, measure = meter(name, args, supernet, device)
        fitted = fitted_to(run, name, supernet, clock, measure, macs, args.latency_archs)
        told = Told(fitted.cost, fitted, measure)
    if told.fitted is not None:
        common.say(str(told.fitted))
        _judge(told.fitted, limit, args.inexact_budget)
    return replace(told, limit=limit)


def _judge(fitted: "Fit", limit: float | None, anyway: bool) -> None:
    """Say what to do where a fit is far off; UserError where a budget rests on it."""
    from supernet.score.latency.fitting import ADVISED, REFUSED

    error, name = fitted.median_error, fitted.cost.name
    if error <= ADVISED:
        return
    do = (
        "measure more networks (--latency-archs), on a machine without other work, or by one thread"
    )
    if error > REFUSED and limit is not None and not anyway:
        raise UserError(
            f"--max-{name}: predictions are off by {100 * error:.0f} % in the median, too far for "
            f"a budget; {do}; --inexact-budget keeps it all the same"
        )
    common.say(f"{name} is predicted poorly: {do}. What is reported is measured all the same")


# -- a table -----------------------------------------------------------------------------------


def digest_of_networks(supernet: "Supernet") -> str:
    """What tells the networks of a run from those of another, for a table of them."""
    spec = supernet.spec.to_data() | {"family": supernet.space.name}
    return key_of({"space": supernet.space.to_data(), "network": spec})


def _of_table(args: SearchSettings, supernet: "Supernet", macs: Cost) -> Told:
    from supernet.score.latency.fitting import fit
    from supernet.score.latency.table import Timed, read_table

    path, space = Path(str(args.latency_table)), supernet.space
    if args.latency_engine is not None:
        raise UserError("--latency-engine measures here, --latency-table was measured: give one")
    found = read_table(path, space, digest_of_networks(supernet))
    if not isinstance(found, Timed):
        return Told(found)
    if found.clock.batch != args.latency_batch:
        raise UserError(
            f"{path} was timed with batch {found.clock.batch}; give --latency-batch "
            f"{found.clock.batch}"
        )
    fitted = fit(space, found.archs, found.ms, macs=macs, clock=found.clock)
    known = dict(zip(as_tuples(found.archs), found.ms.tolist(), strict=True))
    return Told(fitted.cost, fitted, known=known)


# -- this machine ------------------------------------------------------------------------------


def _gone_on(
    name: str, args: SearchSettings, supernet: "Supernet", kept: Path, device: str
) -> Told:
    """The predictions that a search began with; measured is only on the device that it began on."""
    from supernet.score.latency.fitting import load_fit

    fitted = load_fit(kept, supernet.space)
    try:
        clock, measure = meter(name, args, supernet, device)
    except UserError as error:  # an engine or a counter that this machine lacks
        why = str(error)
    else:
        if fitted.clock == clock:
            return Told(fitted.cost, fitted, measure)
        why = f"{kept} is of another device than this one ({clock}; --tag NAME begins one for it)"
    common.say(f"{why}: the search goes on with its predictions, and measures nothing here")
    return Told(fitted.cost, fitted)


def meter(
    name: str, args: SearchSettings, supernet: "Supernet", device: str
) -> "tuple[Clock, Callable[[Arch], float]]":
    """The clock that the settings name, and what measures an architecture by it."""
    import torch

    from supernet.score.latency.clock import Networks, clock_of, milliseconds
    from supernet.score.latency.energy import meter_of, millijoules

    threads = args.threads or torch.get_num_threads()
    clock = clock_of(args.latency_engine, device, threads, args.latency_batch)
    counter = None
    if name == "energy":
        counter = meter_of(clock, device)
        clock = replace(clock, device=f"{clock.device} ({counter.name})")
    files = tempfile.TemporaryDirectory(prefix="lanas-")  # removed with what it belongs to
    networks = Networks(supernet, clock, Path(files.name), device)

    def measure(arch: Arch, files: Any = files) -> float:
        runs = networks(arch)
        return milliseconds(runs, clock) if counter is None else millijoules(runs, counter)

    return clock, measure


def fitted_to(
    run: Run,
    name: str,
    supernet: "Supernet",
    clock: "Clock",
    measure: Callable[[Arch], float],
    macs: Cost,
    archs: int | None = None,
) -> "Fit":
    """The run's fit to this clock: as another search left it, or of figures measured now.

    archs: how many are measured; None for as many as the space needs.
    """
    from supernet.score.latency import design
    from supernet.score.latency.fitting import fit, save_fit
    from supernet.score.latency.measuring import Figures, measured

    count = design.number(supernet.space, archs)
    kept = run.figures(name, clock.key).with_suffix(".json")
    if (fitted := _of_clock(kept, supernet, clock, archs)) is not None:
        return fitted
    if not kept.is_file() and any(kept.parent.glob("*.json")):
        common.say(f"this run has its {name} of another device, engine or batch; now of {clock}")
    chosen = design.chosen(supernet.space, count)
    figures = measured(
        as_tuples(chosen),
        measure,
        Figures(run.figures(name, clock.key)),
        what=f"{name} by {clock}",
        say=common.say,
    )
    fitted = fit(
        supernet.space, chosen, figures, macs=macs, clock=clock, name=name, unit=UNITS[name]
    )
    save_fit(kept, fitted)
    return fitted


def _of_clock(kept: Path, supernet: "Supernet", clock: "Clock", archs: int | None) -> "Fit | None":
    """The run's fit to this clock, of as many networks as are asked for; None without one."""
    from supernet.score.latency.fitting import load_fit

    if not kept.is_file():
        return None
    fitted = load_fit(kept, supernet.space)
    enough = archs is None or fitted.measured >= archs
    return fitted if fitted.clock == clock and enough else None


def without_fit(
    run: Run, args: SearchSettings, device: str, wanted: Sequence[str]
) -> dict[str, float]:
    """Seconds that the fits take which a search still has to make, by cost; a few are measured.

    wanted: costs that the search has to do with.
    """
    from supernet import spaces
    from supernet.score.latency import design, measuring

    found: dict[str, float] = {}
    for name in wanted:
        by_table = name == "latency" and args.latency_table
        if by_table or run.search(args.tag).fit(name).is_file():
            continue
        supernet = spaces.build(
            *spaces.kept(run.config["network"], run.path, trust=run.trust)
        ).eval()
        clock, measure = meter(name, args, supernet, device)
        kept = run.figures(name, clock.key).with_suffix(".json")
        if _of_clock(kept, supernet, clock, args.latency_archs) is not None:
            continue

        def one(arch: Arch, _: int, measure: Callable[[Arch], float] = measure) -> float:
            start = time.perf_counter()
            measure(arch)
            return time.perf_counter() - start

        count = design.number(supernet.space, args.latency_archs)
        some = as_tuples(design.chosen(supernet.space, measuring.FIRST))
        first, again = measuring.seconds_of(some, one)
        found[name] = count * (first + (measuring.ROUNDS - 1) * again)
    return found


# -- what is reported --------------------------------------------------------------------------


def over_budget(trials: Sequence[Trial], limits: Mapping[str, float]) -> frozenset[Arch]:
    """The architectures that exceed a limit by their own measured figure.

    limits: by the name of the cost.
    """
    return frozenset(
        trial.arch
        for trial in trials
        for name, limit in limits.items()
        if trial.measured.get(f"measured_{name}", 0.0) > limit
    )


def limits_of(searched: Searched) -> dict[str, float]:
    """The budgets of a search on what a device tells, as its config.json keeps them."""
    given = {name: searched.config.get(f"max_{name}") for name in UNITS}
    return {name: limit for name, limit in given.items() if isinstance(limit, (int, float))}


def measure_reported(
    told: Sequence[Told], optimiser: Optimiser, log: SearchLog, score: Score
) -> frozenset[Arch]:
    """Measure the best trials, or the front; what exceeds its budget by its own figure.

    In the place of each of these the next is measured. Figures stay in the measurements, and are
    not taken again.
    """
    limits = {each.cost.name: each.limit for each in told if each.limit is not None}
    told = [each for each in told if each.measure is not None or each.known]
    over = over_budget(log.trials, limits)
    while told:
        left = [
            i
            for i in reported(log.trials, optimiser, score, over)
            if any(each.own_name not in log.trials[i].measured for each in told)
        ]
        if not left:
            break
        with Progress("measuring", len(left), state="what is reported") as line:
            new = [_measure(told, log, i, line, count) for count, i in enumerate(left, 1)]
        over = over_budget(log.trials, limits)
        if not any(new):
            break
    return over


def _measure(told: Sequence[Told], log: SearchLog, number: int, line: Progress, count: int) -> bool:
    """Measure what a trial lacks and keep it; False where a table of a device does not have it."""
    trial = log.trials[number]
    lacking = [each for each in told if each.own_name not in trial.measured]
    found = {each.own_name: each.of(trial.arch) for each in lacking}
    figures = {name: value for name, value in found.items() if value is not None}
    line.update(count)
    if not figures:
        return False
    known = log.measurements.append(replace(trial, measured=figures | trial.measured))
    log.trials[number] = replace(known, seconds=trial.seconds)
    return True


def reported(
    trials: Sequence[Trial], optimiser: Optimiser, score: Score, over: frozenset[Arch]
) -> list[int]:
    """The numbers of the best trials within their budgets, or of the front."""
    if optimiser.history.points.shape[1] > 1:
        return front_within(trials, optimiser, over)
    return [row.number for row in ranked(trials, score, over)[:REPORTED]]


def front_within(trials: Sequence[Trial], optimiser: Optimiser, over: frozenset[Arch]) -> list[int]:
    """The numbers of the trials that no other beats, of those within their budgets."""
    import numpy as np

    from lanas.pareto import front

    points = optimiser.history.points
    within = np.array([trial.arch not in over for trial in trials], dtype=bool)
    there = np.flatnonzero(np.isfinite(points).all(axis=1) & within)
    return there[front(points[there])].tolist() if len(there) else []


def in_words(told: Sequence[Told], trials: Sequence[Trial], over: frozenset[Arch]) -> list[str]:
    """What measured the figures of a search, how far predictions were off, what was left out."""
    import numpy as np

    lines = []
    for each in told:
        name, unit = each.cost.name, UNITS[each.cost.name]
        pairs = [
            (trial.measured[name], trial.measured[each.own_name])
            for trial in trials
            if each.own_name in trial.measured
        ]
        if each.fitted is None:
            lines.append(f"{unit}: {name} as the table has it, not measured here")
        elif not pairs:
            lines.append(f"{unit}: {name} as it is predicted, by {each.fitted.clock}")
        else:
            off = float(np.median([abs(a / b - 1) for a, b in pairs]))
            lines.append(
                f"{unit} measured: {name} of {len(pairs)} trials by {each.fitted.clock}; "
                f"predictions were off by {100 * off:.1f} % in the median"
            )
    if over:
        lines.append(f"{len(over)} trials exceed their budget by their own figure and are left out")
    return lines
