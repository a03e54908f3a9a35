"""Problems that searches are compared on: published tables, and generated spaces.

A name is a table or a generator, with `-noisy` behind it where the search sees another score than
it is judged by. Data is read from the folder that is given; nothing of it is copied.

| name | what | the noisy score |
|---|---|---|
| nasbench201, macro | networks, with their costs | 12 epochs' validation; one training of three |
| storm | settings of a stream-processing job, six ordered choices | normal noise |
| kernel | settings of a GPU kernel, six ordered choices; half of the space fails | normal noise |
| cora | graph networks; their best thousandth counts as found | validation |
| generated | seven choices of four options with pairs; another function a seed | normal noise |
| ordered | five choices of eight ordered options, smooth, with pairs | normal noise |
| failing, failing-b | as ordered and as generated, but half of it fails, in a region of its own | |
| wide | 100 choices of ten options, neighbours interact | normal noise |
| long | 10^20 points: 20 choices of ten options, neighbours interact | normal noise |
| long-b, long-c | the same, 30 choices of six, 40 of four: 10^23 and 10^24 points | normal noise |
| long-d, long-e | the same, 30 choices of ten, 15 of sixteen: 10^30, 10^18 points | normal noise |
| patches, patches-b | 10^20 points in which the first choices decide what the others are worth | |

In the last four rows what counts as found is a share of the way from a random network to the exact
best.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from lanas import Table
from lanas.costs import Cost
from lanas.found import found
from lanas.space import Arch, Archs, Choice, Floats, Space, as_tuples

Scores = Callable[[Arch], float | None]  # None where the evaluation fails

PUBLISHED = {  # name: file, what is true, what a noisy search sees, costs by their column
    "nasbench201": ("nasbench201_cifar10.npz", "cifar10_test_200", "cifar10_val_12", "macs"),
    "macro": ("nasbench_macro_cifar10.npz", "mean_acc", "test_acc:0", "flops"),
}
FILES = {name: row[0] for name, row in PUBLISHED.items()} | {
    "storm": "storm_wc.npz",
    "kernel": "kernel_dedisp.npz",
    "cora": "nasbench_graph_cora.npz",
}
CORA_SHARE = 1e-3  # of its networks that count as found
NOISE = 0.05  # deviation of noise that is added, as a share of the range from 1 to 99 percent


@dataclass(frozen=True, eq=False)
class Problem:
    """What a search sees of each network, and what it is judged by; higher is better."""

    space: Space
    seen: Scores
    true: Scores
    goal: float  # true score of what counts as found
    noisy: bool
    costs: tuple[Cost, ...] = ()  # known of every network for free
    best: float | None = None  # the best true score, where it is not the goal


def problem_of(name: str, data: Path, seed: int) -> Problem:
    """The problem of a name; generated ones are another for every seed."""
    base, noisy = name.removesuffix("-noisy"), name.endswith("-noisy")
    if base in PUBLISHED:
        return published(base, data, noisy)
    if base == "cora":
        return cora(data, noisy)
    if base in FILES:
        return settings(base, data, noisy, seed if noisy else 0)
    return GENERATED[base](seed, noisy)


# -- tables --------------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def published(name: str, data: Path, noisy: bool) -> Problem:
    """One of PUBLISHED, of the networks of its space."""
    from supernet.spaces import macro, nb201  # imports torch

    file, true, seen, macs = PUBLISHED[name]
    space = {"nasbench201": nb201, "macro": macro}[name].space()
    archs = as_tuples(space.enumerate())

    def column(score: str) -> dict[Arch, float]:
        table = Table.load(data / file, space, score=score, costs={})
        return dict(zip(archs, table.scores[table.rows(archs)].tolist(), strict=True))

    counted = [column("params"), column(macs)]
    costs = found(space, lambda arch: {str(i): round(c[arch]) for i, c in enumerate(counted)})
    truth, shown = column(true), column(seen if noisy else true)
    best = max(truth.values())
    return Problem(space, shown.get, truth.get, best, noisy, (*costs.values(),))


@lru_cache(maxsize=4)
def settings(name: str, data: Path, noisy: bool, seed: int) -> Problem:
    """A table of ordered settings; those that are not in it fail."""
    with np.load(data / FILES[name]) as file:
        ops, scores = file["ops"], file["score"]
        sizes = file["dims"] if "dims" in file else ops.max(axis=0) + 1
    space = Space(name, tuple(ordered(f"setting{i}", int(size)) for i, size in enumerate(sizes)))
    archs = as_tuples(ops.astype(np.int64))
    return _listed(space, archs, scores, noisy, np.random.default_rng((seed, 5)))


@lru_cache(maxsize=2)
def cora(data: Path, noisy: bool) -> Problem:
    """NAS-Bench-Graph: the same network under its first name; the best thousandth is the goal."""
    with np.load(data / FILES["cora"]) as file:
        net, true, val = file["net"].ravel(), file["perf"], file["val"]
    rows, places = np.unique(net, return_index=True)
    first = places[rows >= 0]  # of each network
    size = (9,) * 5

    def rewrite(archs: Archs) -> Archs:
        row = net[np.ravel_multi_index(tuple(archs.T), size)]
        names = np.stack(np.unravel_index(first[row], size), axis=1)
        return np.where((row >= 0)[:, None], names, archs)

    names = ("links", "operation0", "operation1", "operation2", "operation3")
    options = tuple("abcdefghi")
    space = Space("cora", tuple(Choice(name, options) for name in names), rewrite)
    archs = as_tuples(np.stack(np.unravel_index(first, size), axis=1))
    truth = dict(zip(archs, (100 * true).tolist(), strict=True))
    shown = dict(zip(archs, (100 * val).tolist(), strict=True)) if noisy else truth
    goal = float(np.quantile(100 * true, 1 - CORA_SHARE))
    return Problem(space, shown.get, truth.get, goal, noisy, best=float(100 * true.max()))


# -- generated -----------------------------------------------------------------------------------


def ordered(name: str, size: int) -> Choice:
    """A choice whose options are steps of one quantity."""
    return Choice(name, tuple(map(str, range(size))), ordered=True)


def _listed(
    space: Space, archs: Sequence[Arch], scores: Floats, noisy: bool, rng: np.random.Generator
) -> Problem:
    """A problem of which every score is known; noise of a share of their range where noisy."""
    low, high = np.quantile(scores, [0.01, 0.99])
    seen = scores + (NOISE * (high - low) if noisy else 0.0) * rng.normal(size=len(scores))
    shown, judged = (dict(zip(archs, c.tolist(), strict=True)) for c in (seen, scores))
    return Problem(space, shown.get, judged.get, float(scores.max()), noisy)


@lru_cache(maxsize=2)
def generated(seed: int, noisy: bool) -> Problem:
    """Seven choices of four options: a sum over options plus one over pairs of them, 0 to 100."""
    rng = np.random.default_rng((seed, 201))
    space = Space("generated", tuple(Choice(f"choice{i}", tuple("abcd")) for i in range(7)))
    archs = space.enumerate()
    phi = space.encode(archs)
    pairs = 0.25 * rng.normal(size=(space.width, space.width))
    value = phi @ rng.normal(size=space.width) + ((phi @ pairs) * phi).sum(axis=1)
    true = 100 * (value - value.min()) / np.ptp(value)
    seen = true + (5.0 if noisy else 0.0) * rng.normal(size=len(true))
    names = as_tuples(archs)
    shown, judged = (dict(zip(names, c.tolist(), strict=True)) for c in (seen, true))
    return Problem(space, shown.get, judged.get, 100.0, noisy)


@lru_cache(maxsize=2)
def smooth(seed: int, noisy: bool) -> Problem:
    """Five choices of eight ordered options: smooth in each, and in pairs of them, 0 to 100."""
    space = Space("ordered", tuple(ordered(f"choice{i}", 8) for i in range(5)))
    archs = space.enumerate()
    value = waves(np.random.default_rng((seed, 202)), archs / 7)
    scores = 100 * (value - value.min()) / np.ptp(value)
    return _listed(space, as_tuples(archs), scores, noisy, np.random.default_rng((seed, 6)))


def waves(rng: np.random.Generator, at: Floats) -> Floats:
    """A sum of cosines of half a wave to one wave, of one choice and of products of two: [n].

    at: where in each choice, 0 to 1, [n, choices].
    """

    def wave() -> tuple[float, float]:
        return float(rng.uniform(0.5, 1.0)), float(rng.uniform(0, 1))

    value = np.zeros(len(at))
    for i in range(at.shape[1]):
        length, shift = wave()
        value += rng.normal() * np.cos(2 * np.pi * (length * at[:, i] + shift))
        for j in range(i):
            (a, s), (b, t) = wave(), wave()
            both = np.cos(2 * np.pi * (a * at[:, i] + s)) * np.cos(2 * np.pi * (b * at[:, j] + t))
            value += 0.5 * rng.normal() * both
    return value


def failing(seed: int, noisy: bool, *, name: str) -> Problem:
    """As `ordered`, or as `generated` (failing-b), but half fails: by a function of its own."""
    problem = {"failing": smooth, "failing-b": generated}[name](seed, noisy)
    archs, rng = problem.space.enumerate(), np.random.default_rng((seed, 206))
    bad = waves(rng, archs / archs.max())
    works = dict(zip(as_tuples(archs), (bad <= np.median(bad)).tolist(), strict=True))

    def but(scores: Scores) -> Scores:
        return lambda arch: scores(arch) if works[arch] else None

    best = max(score for arch in works if (score := but(problem.true)(arch)) is not None)
    return replace(problem, seen=but(problem.seen), true=but(problem.true), goal=best)


@dataclass(frozen=True, eq=False)
class Chain:
    """A sum over choices and over neighbouring pairs of them, whose best is found exactly."""

    singles: Floats  # [choices, options]
    pairs: Floats  # [choices - 1, options, options]

    def __call__(self, archs: Archs) -> Floats:
        """The value of each of archs [n, choices]: [n]."""
        at = np.arange(archs.shape[1])
        value = self.singles[at, archs].sum(axis=1)
        total: Floats = value + self.pairs[at[:-1], archs[:, :-1], archs[:, 1:]].sum(axis=1)
        return total

    def most(self) -> float:
        """The greatest value, by dynamic programming along the chain."""
        reached = self.singles[0]
        for single, pair in zip(self.singles[1:], self.pairs, strict=True):
            reached = (reached[:, None] + pair).max(axis=0) + single
        return float(reached.max())


def drawn(rng: np.random.Generator, choices: int, options: int) -> Chain:
    """A random chain, in which pairs weigh half as much as choices."""
    singles = rng.normal(size=(choices, options))
    return Chain(singles, 0.5 * rng.normal(size=(choices - 1, options, options)))


def _large(
    space: Space, value: Callable[[Archs], Floats], most: float, noisy: bool, goal: float, seed: int
) -> Problem:
    """A problem of a space that cannot be listed: 0 is a random point's median, 100 the best."""
    some = value(space.sample(np.random.default_rng((seed, 203)), 2_000))
    low, spread = float(np.median(some)), NOISE * float(np.ptp(np.quantile(some, [0.01, 0.99])))

    def true(arch: Arch) -> float:
        return 100 * float(value(space.as_array([arch]))[0] - low) / (most - low)

    def seen(arch: Arch) -> float:
        noise = np.random.default_rng((seed, 204, *arch)).normal() if noisy else 0.0
        return true(arch) + 100 * spread * noise / (most - low)

    return Problem(space, seen, true, goal, noisy, best=100.0)


def chain(
    seed: int, noisy: bool, *, name: str, choices: int, goal: float, options: int = 10
) -> Problem:
    """A chain of interacting choices."""
    made = drawn(np.random.default_rng((seed, choices, options)), choices, options)
    names = tuple(map(str, range(options)))
    space = Space(name, tuple(Choice(f"choice{i}", names) for i in range(choices)))
    return _large(space, made, made.most(), noisy, goal, seed)


class Patches:
    """Chains of which the options of the first choices say which one counts, 4 or 9 of them.

    A point is worth the chain of its patch, less what the patch lacks; a patch is a block of
    options of the first two choices. Nothing that is learned in one patch holds in the next.
    """

    def __init__(self, rng: np.random.Generator, choices: int, options: int, sides: int) -> None:
        self.blocks = np.arange(options) * sides // options
        self.sides = sides
        self.chains = [drawn(rng, choices, options) for _ in range(sides * sides)]
        self.less = 0.3 * choices * rng.permutation(sides * sides) / (sides * sides)

    def __call__(self, archs: Archs) -> Floats:
        patch = self.blocks[archs[:, 0]] * self.sides + self.blocks[archs[:, 1]]
        value = np.zeros(len(archs))
        for i, part in enumerate(self.chains):
            mine = patch == i
            value[mine] = part(archs[mine]) - self.less[i]
        return value

    def most(self) -> float:
        """The greatest value: that of the best chain among the options of its patch."""
        found = []
        for i, part in enumerate(self.chains):
            rows, columns = (self.blocks == i // self.sides), (self.blocks == i % self.sides)
            kept = part.singles.copy()
            kept[0, ~rows] = kept[1, ~columns] = -np.inf
            found.append(Chain(kept, part.pairs).most() - self.less[i])
        return max(found)


def patches(seed: int, noisy: bool, *, name: str, sides: int) -> Problem:
    """10^20 points whose landscape differs from patch to patch."""
    made = Patches(np.random.default_rng((seed, sides, 205)), 20, 10, sides)
    names = tuple(map(str, range(10)))
    space = Space(name, tuple(Choice(f"choice{i}", names) for i in range(20)))
    return _large(space, made, made.most(), noisy, 90.0, seed)


GENERATED: Mapping[str, Callable[[int, bool], Problem]] = {
    "generated": generated,
    "ordered": smooth,
    "failing": lambda s, n: failing(s, n, name="failing"),
    "failing-b": lambda s, n: failing(s, n, name="failing-b"),
    "wide": lambda s, n: chain(s, n, name="wide", choices=100, goal=60.0),
    "long": lambda s, n: chain(s, n, name="long", choices=20, goal=95.0),
    "long-b": lambda s, n: chain(s, n, name="long-b", choices=30, options=6, goal=95.0),
    "long-c": lambda s, n: chain(s, n, name="long-c", choices=40, options=4, goal=95.0),
    "long-d": lambda s, n: chain(s, n, name="long-d", choices=30, goal=95.0),
    "long-e": lambda s, n: chain(s, n, name="long-e", choices=15, goal=95.0, options=16),
    "patches": lambda s, n: patches(s, n, name="patches", sides=2),
    "patches-b": lambda s, n: patches(s, n, name="patches-b", sides=3),
}
