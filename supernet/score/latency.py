"""Latency on this device: measured, fitted linear in the encoding, or read from a table.

A sum over layers fits most devices to a few percent, some not: how well it does on this one is
measured on architectures that the fit has not seen.
"""

import csv
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lanas.errors import UserError, one_line
from lanas.space import Archs, Floats, Space, as_tuples
from supernet.network import Supernet
from supernet.run import read_json, write_json
from supernet.score.counted import Cost, CostPerOption, LinearCost

RIDGE = 1e-3  # of the fit: little, against options that no sampled architecture has
ROUNDS = 3  # passes over all architectures, the fastest of which counts: other work only adds
ROUNDS_OF_SCALING = 10  # of the fit where a choice scales the others: each leaves less to mend
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
    """A linear latency and how far it is off on architectures that it was not fitted to.

    median_error, max_error: of |predicted - measured| / measured, fractions.
    """

    cost: Cost
    measured: int  # architectures, held-out ones among them
    median_error: float
    max_error: float


def fit(supernet: Supernet, *, batch: int = 1, archs: int = 100, seed: int = 0) -> Fit:
    """Measure `archs` architectures drawn by `seed` on the supernet's device and fit a sum.

    The held-out error is of a fit to four fifths of them; the cost returned is of all. Where one
    choice scales the costs of the others, as a resolution does, it is a factor of the sum.
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
    scaled = getattr(supernet, "scaled_by", None)
    known = _fitted(space, chosen[~held], times[~held], scaled)
    error = np.abs(known(space, chosen[held]) / times[held] - 1)
    cost = _fitted(space, chosen, times, scaled)
    return Fit(cost, len(chosen), float(np.median(error)), float(error.max()))


def _fitted(space: Space, archs: Archs, times: Floats, scaled: str | None) -> Cost:
    """A sum over choices fitted to `times` [n] in ms, times a factor of each option of `scaled`.

    Sum and factors by turns, each the least squares solution given the other.
    """
    phi = np.hstack([space.encode(archs), np.ones((len(archs), 1))])
    if scaled is None:
        weights = _ridge(phi, times)
        return LinearCost("latency", float(weights[-1]), weights[:-1])
    where = [choice.name for choice in space.choices].index(scaled)
    takes = archs[:, where, None] == np.arange(len(space.choices[where].options))  # [n, options]
    counts = np.maximum(takes.sum(axis=0), 1)
    factors = np.where(takes.any(axis=0), times @ takes / counts / times.mean(), 1.0)
    phi[:, space.columns[where]] = 0
    for _ in range(ROUNDS_OF_SCALING):
        of_each = factors[archs[:, where]]
        weights = _ridge(phi * of_each[:, None], times)
        sums = phi @ weights
        squares = (sums**2) @ takes  # zero where an option has not been measured
        found = (times * sums) @ takes / np.maximum(squares, 1e-12)
        factors = np.where(squares > 0, found, factors)
    pieces = [LinearCost("latency", float(f * weights[-1]), f * weights[:-1]) for f in factors]
    return CostPerOption("latency", scaled, tuple(pieces))


def save_fit(path: Path, fitted: Fit) -> None:
    """Keep a fit as JSON, so that a search that goes on has the same budgets."""
    cost = fitted.cost
    pieces = cost.costs if isinstance(cost, CostPerOption) else (cost,)
    content = {
        "measured": fitted.measured,
        "median_error": fitted.median_error,
        "max_error": fitted.max_error,
        "choice": cost.choice if isinstance(cost, CostPerOption) else None,
        "costs": [{"base": p.base, "weights": p.weights.tolist()} for p in pieces],
    }
    write_json(path, content)


def load_fit(path: Path, space: Space) -> Fit:
    """What `save_fit` wrote; UserError where it is broken or of another space."""
    content = read_json(path)
    try:
        pieces = tuple(
            LinearCost("latency", float(piece["base"]), np.array(piece["weights"], dtype=float))
            for piece in content["costs"]
        )
        choice = content["choice"]
        fitted = Fit(
            pieces[0] if choice is None else CostPerOption("latency", choice, pieces),
            int(content["measured"]),
            float(content["median_error"]),
            float(content["max_error"]),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UserError(f"{path} is no latency: {error!r}; remove it to measure anew") from None
    options = {c.name: len(c.options) for c in space.choices} | {None: 1}
    if {p.weights.shape for p in pieces} != {(space.width,)} or options.get(choice) != len(pieces):
        raise UserError(f"{path} is of another space: remove it to measure anew")
    return fitted


def _ridge(phi: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Ridge regression whose last column, the constant, is not penalised."""
    penalty = RIDGE * np.eye(phi.shape[1])
    penalty[-1, -1] = 0
    weights: np.ndarray = np.linalg.solve(phi.T @ phi + penalty, phi.T @ times)
    return weights


def read_table(path: Path, space: Space) -> LinearCost:
    """A latency from a CSV of columns choice, option, ms: a line an option, and `base,,ms`.

    Raises UserError for a missing option, a name that the space does not have, a number that is
    none, or values that the codes of a choice cannot tell apart.
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
    weights = np.zeros(space.width)
    for choice, columns in zip(space.choices, space.columns, strict=True):
        values = np.array([given[choice.name, option] for option in choice.options])
        weights[columns] = np.linalg.lstsq(choice.code, values, rcond=None)[0]
        if not np.allclose(choice.code @ weights[columns], values):
            raise UserError(f"{path}: the codes of {choice.name} cannot hold these values")
    return LinearCost("latency", sum(ms for name, _, ms in rows if name == "base"), weights)
