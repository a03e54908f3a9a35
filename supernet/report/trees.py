"""The tree of a search: as it was kept, or learned anew from the log; what lies where in it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import lanas
from lanas.errors import short
from lanas.scores import PLAIN
from lanas.space import Floats, Space
from lanas.trials import Trial
from supernet.report.reading import Reader, mapping, number, texts
from supernet.report.rows import Node, TrialRow
from supernet.run import SearchFolder

NO_KERNEL = {"draw": "uniform", "scope": "leaf"}  # the tree is the same, and nothing is proposed
DEEPEST = 200  # nodes below each other
FEWEST = 4  # trials under which no tree is learned anew


def nodes_of(
    folder: SearchFolder,
    config: Mapping[str, Any],
    space: Space,
    trials: Sequence[TrialRow],
    objectives: Sequence[str],
    reader: Reader,
) -> list[dict[str, Any]]:
    """The nodes of tree.json; of a LaNAS search that has gone on since, learned from its log."""
    kept = reader.json(folder.tree).get("nodes")
    nodes = kept if isinstance(kept, list) else []
    scored = [t for t in trials if t.score is not None]
    stale = not nodes or number(mapping(nodes[0]).get("trials")) != len(trials)
    if stale and config.get("optimiser", "lanas") == "lanas" and len(scored) >= FEWEST:
        learned = reader.attempt(
            folder.trials, lambda: _learned(config, space, trials, objectives), None
        )
        nodes = learned or nodes
    return reader.attempt(folder.tree, lambda: _whole(nodes, space), [])


def _learned(
    config: Mapping[str, Any],
    space: Space,
    trials: Sequence[TrialRow],
    objectives: Sequence[str],
) -> list[dict[str, Any]]:
    """The nodes of the tree that these trials teach, by the logged scores."""
    optimiser = lanas.make(
        "lanas",
        space,
        settings=mapping(config.get("optimiser_settings")) | NO_KERNEL,
        preset=str(config.get("preset", "default")),
        score=PLAIN,
        objectives=tuple(objectives),
    )
    told = []
    for t in trials:
        measured = t.measured | ({} if t.score is None else {"score": t.score})
        told.append(Trial(t.arch, measured, t.seconds, "failed" if t.score is None else None))
    optimiser.tell(told)
    found: list[dict[str, Any]] = (optimiser.learned() or {}).get("nodes", [])
    return found


def _whole(nodes: Sequence[Any], space: Space) -> list[dict[str, Any]]:
    """Nodes that are a tree on this space; raises where they are not."""
    depth: list[int] = []
    for i, node in enumerate(nodes):
        parent, side = node["parent"], node["side"]
        if i == 0:
            whole = parent is None and side is None
        else:
            whole = type(parent) is int and 0 <= parent < i and side in ("good", "bad")
            whole = whole and "weights" in nodes[parent]
        if not whole:
            raise ValueError(f"node {i} has parent {short(parent)}, side {short(side)}")
        depth.append(0 if parent is None else depth[parent] + 1)
        if depth[i] > DEEPEST:
            raise ValueError(f"node {i} lies deeper than {DEEPEST}")
        if "weights" in node:
            plane = [number(each) for each in (*node["weights"], node["threshold"])]
            if None in plane or len(plane) != space.width + 1:
                raise ValueError(f"node {i} has a plane of {len(plane) - 1} weights")
    return list(nodes)


def routes(tree: Sequence[Mapping[str, Any]], phi: Floats) -> Floats:
    """Which nodes each encoding visits: [n, nodes] of 0 and 1."""
    visited = np.zeros((len(phi), len(tree)))
    good: dict[int, Any] = {}
    for i, node in enumerate(tree):
        if node["parent"] is None:
            visited[:, i] = 1
        else:
            side = good[node["parent"]]
            side = side if node["side"] == "good" else ~side
            visited[:, i] = visited[:, node["parent"]] * side
        if "weights" in node:
            good[i] = phi @ np.array(node["weights"], dtype=float) >= float(node["threshold"])
    return visited


def leaves(tree: Sequence[Mapping[str, Any]], routed: Floats) -> list[int]:
    """The last node that each visits; -1 without a tree."""
    if not tree:
        return [-1] * len(routed)
    last = [int(np.flatnonzero(row)[-1]) for row in routed]
    return last


def shown(
    tree: Sequence[Mapping[str, Any]],
    space: Space,
    trials: Sequence[TrialRow],
    phi: Floats,
    best: int | None,
) -> tuple[list[Node], Floats]:
    """The nodes as they are shown, and which of them each trial visits."""
    routed = routes(tree, phi)
    scores = np.array([np.nan if t.score is None else t.score for t in trials])
    row = next((i for i, t in enumerate(trials) if t.number == best), None)
    found = []
    for i, node in enumerate(tree):
        mine = routed[:, i] > 0
        known = scores[mine & np.isfinite(scores)]
        found.append(
            Node(
                node["parent"],
                node["side"],
                int(mine.sum()),
                float(known.mean()) if len(known) else None,
                texts(node.get("choices")),
                _bars(node, space),
                bool(row is not None and routed[row, i]),
            )
        )
    return found, routed


def _bars(node: Mapping[str, Any], space: Space) -> list[tuple[str, str, float]]:
    if "weights" not in node:
        return []
    plane = np.array(node["weights"], dtype=float)
    found = []
    for choice, columns in zip(space.choices, space.columns, strict=True):
        values = choice.code @ plane[columns]
        spread = float(np.ptp(values)) if len(values) else 0.0
        found.append((spread, choice, values))
    found.sort(key=lambda each: -each[0])
    return [
        (choice.name, option, float(value))
        for spread, choice, values in found
        if 0 < spread < np.inf
        for option, value in zip(choice.options, values, strict=True)
    ]
