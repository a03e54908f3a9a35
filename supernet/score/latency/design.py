"""Which architectures are timed: those that together say most about every option.

A greedy D-optimal design over the encoding (Fedorov, Theory of Optimal Experiments, 1972), from a
fixed pool of draws. The design of more architectures begins with that of fewer, so that a later
search that wants more of them times only those that are new.
"""

import math

import numpy as np

from lanas.errors import UserError
from lanas.space import Archs, Floats, Space

POOL = 4096  # uniform draws of which the architectures are chosen
EACH = 3  # architectures that have an option, at least
LEAST = 100  # architectures that are timed, at least
SHARE = 1.5  # times the columns of the encoding


def number(space: Space, given: int | None = None, flag: str = "--latency-archs") -> int:
    """How many architectures are timed; UserError where `given` is fewer than can be fitted.

    flag: which gave it, for the message. By default one and a half times the columns of the
    encoding, and at least 100.
    """
    if given is None:
        return max(LEAST, math.ceil(SHARE * space.width))
    needed = free_columns(space)
    least = math.ceil(1.2 * needed)
    if given < least and given < len(pool_of(space)):
        raise UserError(
            f"{flag} {given}: space {space.name} has {needed} free columns, which takes "
            f"at least {least} architectures to fit; {number(space)} are usual"
        )
    return given


def free_columns(space: Space) -> int:
    """The rank of the encoding with its base, by the pool."""
    pool = pool_of(space)
    return int(np.linalg.matrix_rank(with_base(space, pool)))


def with_base(space: Space, archs: Archs) -> Floats:
    """One and the encoding: [n, 1 + width]."""
    return np.column_stack([np.ones(len(archs)), space.encode(archs)])


def pool_of(space: Space) -> Archs:
    """The distinct canonical architectures that may be timed, always the same ones.

    Uniform draws, and for each option that these have seldom or never some that were changed to
    have it.
    """
    rng = np.random.default_rng(0)
    drawn = space.canonical(space.sample(rng, POOL))
    added = [drawn]
    for i, count in enumerate(space.options.tolist()):
        active = space.active(drawn)[:, i]
        seen = np.bincount(drawn[active, i], minlength=count)
        for option in np.flatnonzero(seen < EACH).tolist():
            some = with_option(space, drawn[rng.permutation(len(drawn))[:256]], i, option)
            added.append(some[:EACH])
    distinct, first = np.unique(np.concatenate(added), axis=0, return_index=True)
    return distinct[np.argsort(first)]


def with_option(space: Space, archs: Archs, choice: int, option: int) -> Archs:
    """Those of `archs` that, changed to take `option` at `choice`, still have it: canonical."""
    changed = archs.copy()
    changed[:, choice] = option
    at = choice
    while (condition := space.conditions[at]) is not None:
        parent, allowed = condition
        wrong = ~allowed[changed[:, parent]]
        changed[wrong, parent] = int(np.flatnonzero(allowed)[0])
        at = parent
    found = space.canonical(changed)
    taken: Archs = found[space.active(found)[:, choice] & (found[:, choice] == option)]
    return taken


def chosen(space: Space, archs: int) -> Archs:
    """So many architectures, or all there are, in the order in which they are timed: canonical.

    Each next one is that about which those before say least.
    """
    pool = pool_of(space)
    rows = with_base(space, pool)
    rows = rows / np.maximum(np.abs(rows).max(axis=0), 1e-12)
    inverse = np.eye(rows.shape[1]) * 1e3  # of the information so far, next to none
    unknown = np.einsum("ij,jk,ik->i", rows, inverse, rows)  # variance of each prediction
    order = []
    for _ in range(min(archs, len(pool))):
        at = int(unknown.argmax())
        order.append(at)
        direction = inverse @ rows[at]
        scale = 1.0 + rows[at] @ direction
        inverse -= np.outer(direction, direction) / scale
        unknown -= (rows @ direction) ** 2 / scale
        unknown[at] = -np.inf
    return pool[order]


def uncovered(space: Space, archs: Archs) -> list[tuple[str, str]]:
    """Choices with those of their options that networks of the pool have and `archs` do not."""
    pool = pool_of(space)
    missing = []
    for i, choice in enumerate(space.choices):
        there = set(pool[space.active(pool)[:, i], i].tolist())
        seen = set(archs[space.active(archs)[:, i], i].tolist())
        missing += [(choice.name, choice.options[option]) for option in sorted(there - seen)]
    return missing
