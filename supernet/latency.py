"""Latency on this device: measured, fitted linear in the encoding, or read from a table.

A sum over layers fits most devices to a few percent, some not: how well it does on this one is
measured on architectures that the fit has not seen.
"""

import csv
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from supernet.cost import LinearCost
from supernet.errors import UserError, one_line
from supernet.run import read_json, write_json
from supernet.space import Space, as_tuples

RIDGE = 1e-3  # of the fit: little, against options that no sampled architecture has
ROUNDS = 3  # passes over all architectures, the fastest of which counts: other work only adds
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

    shape: channels, height, width of an image; batch: images at a time; arch: of a supernet.
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

    cost: LinearCost
    measured: int  # architectures, held-out ones among them
    median_error: float
    max_error: float


def fit(
    supernet: nn.Module, shape: Sequence[int], *, batch: int = 1, archs: int = 100, seed: int = 0
) -> Fit:
    """Measure `archs` architectures drawn by `seed` on the supernet's device and fit a sum.

    The held-out error is of a fit to four fifths of them; the cost returned is of all.
    """
    space: Space = supernet.space  # type: ignore[assignment]
    drawn = space.canonical(space.sample(np.random.default_rng(seed), 4 * archs))
    chosen = list(dict.fromkeys(as_tuples(drawn)))[:archs]
    rounds = [
        [measure(supernet, shape, batch, arch, runs=7, warmup=2)["median_ms"] for arch in chosen]
        for _ in range(ROUNDS)
    ]
    times = np.min(rounds, axis=0)
    phi = np.hstack([space.encode(chosen), np.ones((len(chosen), 1))])
    held = np.arange(len(chosen)) % HELD_OUT == HELD_OUT - 1
    error = np.abs(phi[held] @ _ridge(phi[~held], times[~held]) / times[held] - 1)
    weights = _ridge(phi, times)
    cost = LinearCost("latency", float(weights[-1]), weights[:-1])
    return Fit(cost, len(chosen), float(np.median(error)), float(error.max()))


def save_fit(path: Path, fitted: Fit) -> None:
    """Keep a fit as JSON, so that a search that goes on has the same budgets."""
    content = asdict(fitted) | {"cost": {"base": fitted.cost.base}}
    content["cost"]["weights"] = fitted.cost.weights.tolist()
    write_json(path, content)


def load_fit(path: Path, space: Space) -> Fit:
    """What `save_fit` wrote; UserError where it is broken or of another space."""
    content = read_json(path)
    try:
        weights = np.array(content["cost"]["weights"], dtype=float)
        cost = LinearCost("latency", float(content["cost"]["base"]), weights)
        fitted = Fit(
            cost,
            int(content["measured"]),
            float(content["median_error"]),
            float(content["max_error"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is no latency: {error!r}; remove it to measure anew") from None
    if weights.shape != (space.width,):
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
