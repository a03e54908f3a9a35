"""Latency on this device: measured, fitted as a sum of tables, or read from a table.

A sum over layers fits most devices to a few percent, some not: how well it does on this one is
measured on architectures that the fit has not seen.
"""

import csv
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lanas.costs import Cost, Term, cost_from_data
from lanas.errors import UserError, one_line
from lanas.lifted import columns, tables
from lanas.space import Archs, Floats, Space, as_tuples
from lanas.tree import ridge
from supernet.network import Supernet
from supernet.run import read_json, write_json

RIDGE = 1e-3  # of the fit: little, against options that no sampled architecture has
ROUNDS = 3  # passes over all architectures, the fastest of which counts: other work only adds
FOLDS = 4  # of the cross-validation that decides which choices have tables together
HELD_OUT = 5  # every fifth architecture is kept from the fit, to tell its error


@torch.inference_mode()
def measure(
    net: nn.Module,
    shape: Sequence[int],
    batch: int,
    arch: Sequence[int] | None = None,
    *,
    runs: int = 30,
    warmup: int = 5,
) -> dict[str, float]:
    """Milliseconds of a forward pass on the network's device: median and quartiles of `runs`.

    shape: of an image, `Supernet.input_shape(arch)`, so that nothing is resized; batch: images at
    a time; arch: of a supernet.
    """
    device = next(net.parameters()).device
    x = torch.zeros(batch, *shape, device=device).to(memory_format=torch.channels_last)
    training = net.training
    net.eval()
    times = []
    for run in range(warmup + runs):
        start = time.perf_counter()
        net(x, arch)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if run >= warmup:
            times.append(1e3 * (time.perf_counter() - start))
    net.train(training)
    low, median, high = np.percentile(times, [25, 50, 75]).tolist()
    return {"median_ms": median, "p25_ms": low, "p75_ms": high}


@dataclass(frozen=True, eq=False)
class Fit:
    """A latency as a sum of tables, and how far it is off on architectures that it has not seen.

    median_error, max_error: of |predicted - measured| / measured, fractions.
    """

    cost: Cost
    measured: int  # architectures, held-out ones among them
    median_error: float
    max_error: float


def fit(
    supernet: Supernet,
    *,
    batch: int = 1,
    archs: int = 100,
    seed: int = 0,
    macs: Cost | None = None,
) -> Fit:
    """Measure `archs` architectures drawn by `seed` on the supernet's device and fit a sum.

    macs: of the supernet; the choices that cost MACs together are tried as groups of the latency as
    well, and kept where that predicts better by cross-validation. The held-out error is of a fit to
    four fifths of the architectures, among which that was decided; the cost returned is of all.
    """
    space = supernet.space
    drawn = space.canonical(space.sample(np.random.default_rng(seed), 4 * archs))
    chosen = np.array(list(dict.fromkeys(as_tuples(drawn)))[:archs])
    rounds = [
        [
            measure(supernet, shape, batch, arch, runs=7, warmup=2)["median_ms"]
            for arch in as_tuples(chosen)
            for shape in [supernet.input_shape(arch)]
        ]
        for _ in range(ROUNDS)
    ]
    times = np.min(rounds, axis=0)
    held = np.arange(len(chosen)) % HELD_OUT == HELD_OUT - 1
    known, seen = chosen[~held], times[~held]
    form = min(_forms(macs), key=lambda form: _error_of(space, form, known, seen))
    error = np.abs(_fitted(space, form, known, seen)(space, chosen[held]) / times[held] - 1)
    cost = _fitted(space, form, chosen, times)
    return Fit(cost, len(chosen), float(np.median(error)), float(error.max()))


@dataclass(frozen=True, eq=False)
class _Form:
    """What is fitted beside each choice on its own.

    shares: terms of another cost, each times a factor; groups: choices with a table of their own.
    """

    shares: tuple[Term, ...] = ()
    groups: tuple[tuple[int, ...], ...] = ()

    def columns(self, space: Space, archs: Archs) -> Floats:
        """What the latency is linear in: [n, columns]."""
        shares = [
            Cost("share", "", 0.0, (term,))(space, archs) / np.abs(term.table).max()
            for term in self.shares
        ]
        return np.column_stack([columns(space, self.groups, archs)[:, 1:], *shares])

    def terms(self, space: Space, weights: Floats) -> Iterator[Term]:
        """The terms that weights [columns] stand for."""
        split = len(weights) - len(self.shares)
        for choices, table in tables(space, self.groups, weights[:split, None]).items():
            yield Term(choices, table[..., 0])
        for term, weight in zip(self.shares, weights[split:], strict=True):
            yield Term(term.choices, term.table * weight / np.abs(term.table).max())


def _forms(macs: Cost | None) -> list[_Form]:
    """The forms that are tried, the simplest first: it is taken where none is better."""
    together = () if macs is None else tuple(t for t in macs.terms if len(t.choices) > 1)
    if not together:
        return [_Form()]
    return [_Form(), _Form(shares=together), _Form(groups=tuple(t.choices for t in together))]


def _error_of(space: Space, form: _Form, archs: Archs, times: Floats) -> float:
    """The mean relative error of a form by cross-validation."""
    fold = np.arange(len(archs)) % FOLDS
    found = np.zeros(len(archs))
    for left_out in range(min(FOLDS, len(archs))):
        here = fold == left_out
        found[here] = _fitted(space, form, archs[~here], times[~here])(space, archs[here])
    return float(np.abs(found / times - 1).mean())


def _fitted(space: Space, form: _Form, archs: Archs, times: Floats) -> Cost:
    """A form fitted to `times` [n] in ms by ridge regression."""
    phi = form.columns(space, archs)
    weights = ridge(phi, times, RIDGE)
    base = float(times.mean() - phi.mean(axis=0) @ weights)
    return Cost("latency", "ms", base, tuple(form.terms(space, weights)))


def save_fit(path: Path, fitted: Fit) -> None:
    """Keep a fit as JSON, so that a search that goes on has the same budgets."""
    content = {
        "measured": fitted.measured,
        "median_error": fitted.median_error,
        "max_error": fitted.max_error,
        "cost": fitted.cost.to_data(),
    }
    write_json(path, content)


def load_fit(path: Path, space: Space) -> Fit:
    """What `save_fit` wrote; UserError where it is broken or of another space."""
    content = read_json(path)
    try:
        return Fit(
            cost_from_data(content["cost"], space),
            int(content["measured"]),
            float(content["median_error"]),
            float(content["max_error"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is no latency ({one_line(error)}); remove it to measure anew"
        ) from None


def read_table(path: Path, space: Space) -> Cost:
    """A latency from a CSV of columns choice, option, ms: a line an option, and `base,,ms`.

    Raises UserError for a missing option, a name that the space does not have, or a number that is
    none.
    """
    try:
        with open(path, newline="") as file:
            rows = [(r["choice"], r["option"], float(r["ms"])) for r in csv.DictReader(file)]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} cannot be read as a CSV of choice,option,ms: {one_line(error)}"
        ) from None
    known = {(choice.name, option) for choice in space.choices for option in choice.options}
    given = {(choice, option): ms for choice, option, ms in rows if choice != "base"}
    for wrong, what in ((known - given.keys(), "lacks"), (given.keys() - known, "has")):
        if wrong:
            choice, option = min(wrong)
            raise UserError(
                f"{path} {what} choice {choice!r}, option {option!r} ({len(wrong)} such); space "
                f"{space.name} has the options of {', '.join(c.name for c in space.choices)}"
            )
    base = sum(ms for name, _, ms in rows if name == "base")
    tables = [np.array([given[c.name, option] for option in c.options]) for c in space.choices]
    terms = tuple(Term((i,), table) for i, table in enumerate(tables))
    return Cost("latency", "ms", base, terms)
