"""Dominance and hypervolume, against brute force and known values."""

from itertools import pairwise, product

import numpy as np
import pytest

from lanas.pareto import dominance_counts, front, hypervolume


def some_points(rng: np.random.Generator, n: int, m: int) -> np.ndarray:  # type: ignore[type-arg]
    """Small integers, so that values and whole points repeat."""
    return rng.integers(0, 6, size=(n, m)).astype(float)


def by_pairs(points: np.ndarray) -> list[int]:  # type: ignore[type-arg]
    def dominates(a: np.ndarray, b: np.ndarray) -> bool:  # type: ignore[type-arg]
        if not np.isfinite(a).all():
            return False
        return not np.isfinite(b).all() or bool((a >= b).all() and (a > b).any())

    return [sum(dominates(a, b) for a in points) for b in points]


def by_cells(points: np.ndarray, reference: np.ndarray) -> float:  # type: ignore[type-arg]
    """Unit cells of the integer grid that some point dominates; no two objectives the same."""
    corners = product(*(range(int(low), 6) for low in reference))
    return float(sum((points >= np.array(corner) + 1).all(axis=1).any() for corner in corners))


@pytest.mark.parametrize("m", [1, 2, 3, 5])
@pytest.mark.parametrize("n", [0, 1, 2, 40, 700])
def test_dominance_is_what_pairs_say(n: int, m: int) -> None:
    """Also over more than one chunk, with equal and with failed points."""
    rng = np.random.default_rng(n + m)
    points = some_points(rng, n, m)
    points[rng.random(n) < 0.1, 0] = np.nan
    points[rng.random(n) < 0.1, -1] = np.inf
    counts = dominance_counts(points)
    assert counts.tolist() == by_pairs(points)
    finite = np.isfinite(points).all(axis=1)
    assert (front(points) == (finite & (counts == 0))).all()


def test_dominance_by_hand() -> None:
    points = [[1, 1], [2, 2], [2, 2], [3, 0], [np.nan, 9], [0, 0]]
    assert dominance_counts(points).tolist() == [2, 0, 0, 0, 5, 4]
    assert front(points).tolist() == [False, True, True, True, False, False]
    assert dominance_counts([[np.nan], [np.nan]]).tolist() == [0, 0]
    assert not front([[np.nan], [np.nan]]).any()


def test_hypervolume_by_hand() -> None:
    assert hypervolume([[3.0]], [1.0]) == 2
    assert hypervolume([[1, 3], [2, 2], [3, 1]], [0, 0]) == 6
    assert hypervolume([[1, 3], [2, 2], [3, 1]], [1, 1]) == 1
    assert hypervolume([[2, 3, 4]], [1, 1, 1]) == 6
    assert hypervolume([[1, 1, 2], [2, 1, 1], [1, 2, 1]], [0, 0, 0]) == 4
    assert hypervolume(np.zeros((0, 3)), [0, 0, 0]) == 0
    assert hypervolume([[5, 0], [0, 5], [np.nan, 9]], [0, 0]) == 0


@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_hypervolume_is_what_cells_say(m: int) -> None:
    rng = np.random.default_rng(m)
    for n in [1, 2, 5, 12, 40]:
        points = some_points(rng, n, m)
        points[rng.random(n) < 0.1] = np.nan
        reference = rng.integers(-1, 3, size=m).astype(float)
        assert hypervolume(points, reference) == by_cells(points, reference)


def test_hypervolume_of_a_plane() -> None:
    """All positive integers with x + y + z = n: the unit cells below that staircase."""
    n = 40
    points = [(x, y, n - x - y) for x, y in product(range(1, n), range(1, n)) if x + y < n]
    cells = sum(1 for x, y, z in product(range(n), range(n), range(n)) if x + y + z <= n - 3)
    assert hypervolume(points, [0, 0, 0]) == cells


def test_hypervolume_grows_with_every_point_and_stays_without_the_dominated() -> None:
    rng = np.random.default_rng(0)
    points = rng.random((200, 3))
    volumes = [hypervolume(points[:n], [0, 0, 0]) for n in range(1, 201, 10)]
    assert all(after >= before for before, after in pairwise(volumes))
    assert hypervolume(points[front(points)], [0, 0, 0]) == pytest.approx(
        hypervolume(points, [0, 0, 0]), rel=1e-12
    )


def test_points_without_objectives_are_refused() -> None:
    with pytest.raises(ValueError, match=r"points are \[3\]"):
        dominance_counts([1.0, 2.0, 3.0])
