"""LaNAS's learning phase (arXiv 1906.06832): a tree of linear splits of the space.

Each inner node splits by a ridge regression of reward on encoding. One plane a node, for trials and
architectures alike: what lies on its good side goes to the good child.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanas.costs import on_grid
from lanas.region import HalfSpaces
from lanas.space import Floats, Space

RIDGE = 1.0  # penalty on the weights; encodings have entries of 0 and 1
CLOSED = 256  # trials, or columns, up to which a plane is solved for in closed form
MOST = 2_000  # trials that a plane is learned from, evenly spread over those of its node


@dataclass(frozen=True, eq=False)
class Tree:
    """Nodes in order of depth, the root first. A leaf has children -1 and a zero plane."""

    weights: Floats  # [nodes, width]
    thresholds: Floats  # [nodes]; the good child is weights · φ >= threshold
    children: NDArray[np.int64]  # [nodes, 2]; good, bad; -1 where leaf
    parent: NDArray[np.int64]  # [nodes]; -1 at the root
    trials: NDArray[np.int64]  # [nodes]; trials that it was learned from
    reward: Floats  # [nodes]; their mean reward

    @cached_property
    def paths(self) -> Floats:
        """[nodes, nodes]: 1 where the way to the second takes the first's good side, -1 the bad."""
        taken = np.zeros((len(self.parent), len(self.parent)))
        for node, pair in enumerate(self.children):
            for child, side in zip(pair[pair >= 0], (1, -1), strict=False):
                taken[:, child] = taken[:, node]
                taken[node, child] = side
        return taken

    @property
    def depth(self) -> Floats:
        """Planes on the way to each node, [nodes]."""
        return np.asarray(np.abs(self.paths).sum(axis=0))


def ridge(phi: Floats, reward: Floats, penalty: float = RIDGE) -> Floats:
    """Ridge regression of reward [n] on phi [n, width], centred: [width].

    In closed form, from the smaller of the two systems; where both are large and few entries are
    not zero by LSMR (Fong and Saunders 2011), to a millionth.
    """
    centre, target = phi.mean(axis=0), reward - reward.mean()
    small = min(phi.shape)
    if small > CLOSED and np.count_nonzero(phi[:CLOSED]) < 0.25 * phi[:CLOSED].size:
        return _iterated(phi, centre, target, penalty)
    centred = phi - centre
    if len(phi) < phi.shape[1]:
        gram = centred @ centred.T + penalty * np.eye(len(phi))
        return np.asarray(centred.T @ np.linalg.solve(gram, target))
    gram = centred.T @ centred + penalty * np.eye(phi.shape[1])
    return np.asarray(np.linalg.solve(gram, centred.T @ target))


def _iterated(phi: Floats, centre: Floats, target: Floats, penalty: float) -> Floats:
    from scipy.sparse import csr_array
    from scipy.sparse.linalg import LinearOperator, lsmr

    sparse = csr_array(phi)
    turned = sparse.T.tocsr()
    centred = LinearOperator(
        phi.shape,
        matvec=lambda v: sparse @ v - float(centre @ v),
        rmatvec=lambda v: turned @ v - centre * float(v.sum()),
        dtype=np.float64,
    )
    found = lsmr(centred, target, damp=penalty**0.5, atol=1e-6, btol=1e-6, maxiter=200)
    return np.asarray(found[0])


def learn(phi: Floats, reward: Floats, height: int, min_trials: int) -> Tree:
    """The tree of trials phi [n, width] with reward [n].

    height: splits on the longest path. The threshold of a split is the mean prediction over the
    node's trials. A node whose split would leave a child with fewer than `min_trials`, or whose
    rewards are all equal, is a leaf.
    """
    nodes, width = 1, phi.shape[1]
    members, depth, parent = [np.arange(len(phi))], [0], [-1]
    children, weights, thresholds = [(-1, -1)], [np.zeros(width)], [0.0]
    node = 0
    while node < nodes:
        mine = members[node]
        if depth[node] < height and len(mine) >= 2 * min_trials and np.ptp(reward[mine]) > 0:
            some = mine[np.linspace(0, len(mine) - 1, min(len(mine), MOST)).astype(np.int64)]
            plane = on_grid(ridge(phi[some], reward[some]))
            predicted = phi[mine] @ plane
            threshold = float(predicted.mean())
            good = predicted >= threshold
            if min_trials <= good.sum() <= len(mine) - min_trials:
                weights[node], thresholds[node] = plane, threshold
                children[node] = (nodes, nodes + 1)
                nodes += 2
                for child in (mine[good], mine[~good]):
                    members.append(child)
                    depth.append(depth[node] + 1)
                    parent.append(node)
                    children.append((-1, -1))
                    weights.append(np.zeros(width))
                    thresholds.append(0.0)
        node += 1
    return Tree(
        np.array(weights),
        np.array(thresholds),
        np.array(children),
        np.array(parent),
        np.array([len(mine) for mine in members]),
        np.array([reward[mine].mean() if len(mine) else 0.0 for mine in members]),
    )


def met(tree: Tree, phi: Floats) -> Floats:
    """How many planes on the way to each node each encoding [n, width] meets: [n, nodes]."""
    good = (phi @ tree.weights.T >= tree.thresholds).astype(float)
    return np.asarray(good @ tree.paths + (tree.paths < 0).sum(axis=0))


def route(tree: Tree, phi: Floats) -> NDArray[np.bool_]:
    """Which nodes each encoding [n, width] visits on its way from root to leaf: bool [n, nodes]."""
    return np.asarray(met(tree, phi) == tree.depth)


def region(tree: Tree, node: int) -> HalfSpaces:
    """All half-spaces on the path from the root to `node`: exactly what `route` sends there."""
    weights: list[Floats] = []
    thresholds: list[float] = []
    while tree.parent[node] >= 0:
        above = int(tree.parent[node])
        plane, threshold = tree.weights[above], float(tree.thresholds[above])
        if tree.children[above, 0] == node:
            weights.append(plane)
            thresholds.append(threshold)
        else:  # w·φ < t is -w·φ > -t, and the next float after -t is the first that is greater
            weights.append(-plane)
            thresholds.append(float(np.nextafter(-threshold, np.inf)))
        node = above
    return HalfSpaces(np.array(weights).reshape(-1, tree.weights.shape[1]), np.array(thresholds))


# -- in words ------------------------------------------------------------------------------------


def splits_in_words(tree: Tree, space: Space, count: int, mean: Floats | None = None) -> list[str]:
    """The first `count` splits of the tree, top down, a line each.

    mean: [nodes], what to print as a node's worth instead of the mean reward, say its mean score.

        all 60 trials: the mean score is 0.9312 of 31 and 0.8745 of the other 29; those 31 have
        edge4 more conv3x3, less none; ...
    """
    mean = tree.reward if mean is None else mean
    lines = []
    for node in np.flatnonzero(tree.children[:, 0] >= 0)[:count].tolist():
        good, bad = tree.children[node].tolist()
        reasons = "; ".join(_reasons(tree.weights[node], space))
        lines.append(
            f"{_name(tree, node)} {tree.trials[node]} trials: the mean score is {mean[good]:.4g} "
            f"of {tree.trials[good]} and {mean[bad]:.4g} of the other {tree.trials[bad]}; those "
            f"{tree.trials[good]} have {reasons}"
        )
    return lines


def _name(tree: Tree, node: int) -> str:
    """`all`, or the sides taken from the root on: `good > bad`."""
    sides: list[str] = []
    while tree.parent[node] >= 0:
        above = int(tree.parent[node])
        sides.insert(0, "good" if tree.children[above, 0] == node else "bad")
        node = above
    return " > ".join(sides) or "all"


def _reasons(plane: Floats, space: Space, most: int = 3) -> list[str]:
    """The choices in which a plane's values differ most between options, with both extremes."""
    values = [
        choice.code @ plane[columns]
        for choice, columns in zip(space.choices, space.columns, strict=True)
    ]
    spread = np.array([np.ptp(value) for value in values])
    telling = [i for i in np.argsort(-spread, kind="stable")[:most] if spread[i] > 0]
    return [
        f"{space.choices[i].name} more {space.choices[i].options[values[i].argmax()]}, "
        f"less {space.choices[i].options[values[i].argmin()]}"
        for i in telling
    ]


def to_data(tree: Tree, space: Space) -> dict[str, Any]:
    """The tree for JSON: its nodes, the root first; docs/run-folder.md has the fields."""
    nodes = []
    for node in range(len(tree.parent)):
        above = int(tree.parent[node])
        side = None if above < 0 else "good" if tree.children[above, 0] == node else "bad"
        found: dict[str, Any] = {
            "parent": None if above < 0 else above,
            "side": side,
            "trials": int(tree.trials[node]),
            "mean": float(tree.reward[node]),
        }
        if tree.children[node, 0] >= 0:
            plane = tree.weights[node]
            found["weights"] = plane.tolist()
            found["threshold"] = float(tree.thresholds[node])
            found["choices"] = _reasons(plane, space)
        nodes.append(found)
    return {"nodes": nodes}
