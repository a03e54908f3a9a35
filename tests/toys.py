"""Small spaces and problems with known answers, shared by the tests."""

import json
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import ArrayLike

from lanas.costs import Budget, Cost, Term
from lanas.events import SearchLog, frozen
from lanas.optimiser import Optimiser
from lanas.region import HalfSpaces, tables
from lanas.scores import PLAIN
from lanas.space import Arch, Archs, Choice, Floats, Space, as_tuples
from lanas.trials import Measurements, Trial
from supernet.training.strategies import Strategy

DATA = Path(__file__).parents[2] / "shared" / "data"

Table = dict[Arch, float]


# -- spaces --------------------------------------------------------------------------------------


def plain(choices: int = 6, options: int = 4) -> Space:
    """One-hot choices that are all active."""
    names = tuple("abcdefgh"[:options])
    return Space("plain", tuple(Choice(f"choice{i}", names) for i in range(choices)))


def mixed() -> Space:
    """One-hot, multi-hot and conditional choices, one of one option, equal networks: 2,304 points.

    `depth` gates layer1 and layer2, layer2 gates layer3; `pair` has codes with two ones; `left` and
    `right` may be exchanged.
    """
    pair = np.array([[1, 0, 1, 0], [1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 0, 1]])
    choices = (
        Choice("depth", ("1", "2", "3")),
        Choice("layer1", ("a", "b", "c", "d"), when=("depth", ("2", "3"))),
        Choice("layer2", ("a", "b", "c"), when=("depth", ("3",))),
        Choice("layer3", ("x", "y"), when=("layer2", ("b", "c"))),
        Choice("pair", ("ax", "ay", "bx", "by"), pair),
        Choice("only", ("one",)),
        Choice("left", ("a", "b")),
        Choice("right", ("a", "b", "c", "d")),
    )

    def rewrite(archs: Archs) -> Archs:
        archs = archs.copy()
        swap = (archs[:, 7] < 2) & (archs[:, 6] > archs[:, 7])
        archs[swap, 6], archs[swap, 7] = archs[swap, 7], archs[swap, 6]
        return archs

    return Space("mixed", choices, rewrite)


def nasnet(nodes: int = 10, operations: int = 2) -> Space:
    """Two picks of (input, operation) for each node, of the cell's two inputs and earlier nodes.

    The code of an option has two ones. 1.6e21 points with ten nodes and two operations.
    """
    choices = []
    for node in range(nodes):
        inputs = [f"in{i}" for i in range(2)] + [f"node{i}" for i in range(node)]
        options = tuple(f"{i}-op{o}" for i in inputs for o in range(operations))
        code = np.concatenate(
            [
                np.repeat(np.eye(len(inputs)), operations, axis=0),
                np.tile(np.eye(operations), (len(inputs), 1)),
            ],
            axis=1,
        )
        choices += [Choice(f"node{node}{side}", options, code) for side in ("left", "right")]
    return Space("nasnet", tuple(choices))


def random_space(rng: np.random.Generator) -> Space:
    """Up to 400 raw points, with conditions and multi-hot codes at random."""
    choices: list[Choice] = []
    for i in range(rng.integers(2, 6)):
        options = tuple("abcd"[: rng.integers(1, 5)])
        one_hot = rng.random() < 0.6
        code = np.eye(len(options)) if one_hot else rng.integers(0, 2, size=(len(options), 3))
        when = None
        if i and rng.random() < 0.5:
            parent = choices[rng.integers(i)]
            when = (parent.name, tuple(o for o in parent.options if rng.random() < 0.6))
        choices.append(Choice(f"choice{i}", options, code, when))
    space = Space("random", tuple(choices))
    return space if np.prod(space.options) <= 400 else random_space(rng)


def raw_points(space: Space) -> Archs:
    """Every raw point, also those that are equal networks: [points, choices]."""
    return np.indices(space.options.tolist()).reshape(len(space.choices), -1).T


def random_region(space: Space, rng: np.random.Generator, rows: int) -> HalfSpaces:
    """Rows with small integer weights, so that many points lie on a plane; it can be empty."""
    weights = rng.integers(-3, 4, size=(rows, space.width)).astype(float)
    centre = weights @ space.encode(space.sample(rng, 1))[0]
    return HalfSpaces(weights, centre - rng.integers(-1, 3, size=rows))


def cost(space: Space, weights: ArrayLike, base: float = 0.0, whole: bool = False) -> Cost:
    """`base` + weights [width] times the encoding."""
    rows = tables(space, np.asarray(weights, dtype=float)[None])
    terms = tuple(Term((i,), row[:, 0]) for i, row in enumerate(rows))
    return Cost("cost", "", base, terms, whole)


def budget(space: Space, weights: ArrayLike, base: float, limit: float) -> Budget:
    """The architectures of `cost` up to `limit`."""
    return Budget(cost(space, weights, base), limit)


def some_budget(space: Space, seed: int, share: float, pairs: bool = False) -> Budget:
    """One on random whole costs that `share` of a small space meets; none where it is negative.

    pairs: with products of every two neighbouring choices.
    """
    rng = np.random.default_rng(seed)
    options = space.options.tolist()
    groups = [(i,) for i in range(len(options))]
    groups += [(i, i + 1) for i in range(len(options) - 1) if pairs]
    terms = [Term(g, rng.integers(1_000, 9_000_000, size=[options[i] for i in g])) for g in groups]
    costs = Cost("some", "", 0.0, tuple(terms), whole=True)
    values = costs(space, space.enumerate())
    return Budget(costs, float(np.quantile(values, share) if share >= 0 else values.min() - 1))


# -- strategies ----------------------------------------------------------------------------------


class Always(Strategy):
    """The same architectures every step."""

    def __init__(self, archs: list[Arch]) -> None:
        self.archs = archs

    def sample(self, rng: np.random.Generator) -> list[Arch]:
        return self.archs


# -- problems ------------------------------------------------------------------------------------


def with_pairs(space: Space, seed: int, strength: float = 0.25) -> Table:
    """Score of every canonical architecture: a sum over its code plus products of two codes."""
    rng = np.random.default_rng(seed)
    archs = space.enumerate()
    phi = space.encode(archs)
    pairs = strength * rng.normal(size=(space.width, space.width))
    scores = phi @ rng.normal(size=space.width) + ((phi @ pairs) * phi).sum(axis=1)
    return dict(zip(as_tuples(archs), scores.tolist(), strict=True))


@cache
def nasbench201() -> tuple[Space, Table]:
    """The space and the test accuracy in percent of each of its networks."""
    from supernet.spaces import nb201  # imports torch

    data = _load("nasbench201_cifar10.npz")
    return nb201.space(), _table(data["ops"], data["cifar10_test_200"])


@cache
def nasbench_macro() -> tuple[Space, Table]:
    """The space and the mean test accuracy in percent of each of its networks."""
    from supernet.spaces import macro  # imports torch

    data = _load("nasbench_macro_cifar10.npz")
    return macro.space(), _table(data["ops"], data["mean_acc"])


@cache
def interacting() -> tuple[Space, Table]:
    """4,096 points with interactions between choices."""
    return plain(), with_pairs(plain(), seed=3)


PROBLEMS: dict[str, Callable[[], tuple[Space, Table]]] = {
    "toy": interacting,
    "nasbench201": nasbench201,
    "nasbench_macro": nasbench_macro,
}


def _load(name: str) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    if not DATA.is_dir():
        pytest.skip(f"no benchmark tables: {DATA} is missing")
    with np.load(DATA / name) as data:
        return dict(data)


def _table(ops: Archs, scores: Floats) -> Table:
    return dict(zip(as_tuples(ops), scores.tolist(), strict=True))


# -- searching -----------------------------------------------------------------------------------


def opened(run: Path, folder: str = "search") -> SearchLog:
    """The log of a search by the plain score, begun where there is none."""
    path = run / folder
    path.mkdir(parents=True, exist_ok=True)
    measured = run / "measured" / "key.jsonl"
    (path / "config.json").write_text(json.dumps(frozen(path, PLAIN, measured)))
    return SearchLog(path, Measurements(measured))


def archs_of(log: SearchLog) -> list[Arch]:
    return [trial.arch for trial in log.trials]


def scored(arch: Arch, score: float, costs: dict[str, float] | None = None) -> Trial:
    """A trial with this score."""
    return Trial(arch, {"score": score} | (costs or {}))


def failed(arch: Arch, costs: dict[str, float] | None = None, nan: bool = False) -> Trial:
    """A trial that failed: with an error, or with a score that is no number."""
    measured = ({"score": math.nan} if nan else {}) | (costs or {})
    return Trial(arch, measured, error=None if nan else "failed")


def trials_of(archs: list[Arch], table: Table) -> list[Trial]:
    return [scored(arch, table[arch]) for arch in archs]


def search(optimiser: Optimiser, table: Table, trials: int, batch: int = 1) -> list[Arch]:
    """Ask, evaluate, tell, until `trials` are told or the space has no more; what was asked."""
    asked: list[Arch] = []
    while len(asked) < trials and (archs := optimiser.ask(min(batch, trials - len(asked)))):
        optimiser.tell(trials_of(archs, table))
        asked += archs
    return asked


def trials_to_best(optimiser: Optimiser, table: Table, best: float, cap: int) -> int:
    """Distinct trials until one scores `best`, one at a time; `cap` where none has by then."""
    for n in range(1, cap + 1):
        (arch,) = optimiser.ask(1)
        if table[arch] >= best:
            return n
        optimiser.tell(trials_of([arch], table))
    return cap
