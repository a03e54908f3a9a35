"""Drawings of our own as SVG: the tree of a search, and networks as data describes them.

Colours are classes of the page's style sheet. Every text of a run is escaped; a drawing that is not
of a known kind, or broken, is None.
"""

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil
from typing import Any

from lanas.files import BROKEN
from supernet.report.rows import Node

BOX = (196, 50)  # width and height of a node of the tree
GAP = (34, 12)  # between columns, between rows
LETTER = 6.4  # width of one at the size of a label
MOST_BLOCKS = 400  # of a drawing
COLOURS = 6  # of operations; further ones begin again


# -- the tree --------------------------------------------------------------------------------------


def tree(nodes: Sequence[Node], said: Sequence[str]) -> str | None:
    """The tree, root left, good sides up. said: of each node its mean as it is shown."""
    if not nodes:
        return None
    children: dict[int, dict[str, int]] = {}
    depth = [0] * len(nodes)
    for i, node in enumerate(nodes):
        if node.parent is not None:
            children.setdefault(node.parent, {})[node.side or "bad"] = i
            depth[i] = depth[node.parent] + 1
    rows: dict[int, float] = {}
    _rows(0, children, rows, [0])
    step_x, step_y = BOX[0] + GAP[0], BOX[1] + GAP[1]
    at = {i: (8 + depth[i] * step_x, 8 + rows[i] * step_y) for i in rows}
    width = 16 + (max(depth) + 1) * step_x - GAP[0]
    height = 16 + (max(rows.values()) + 1) * step_y - GAP[1]
    parts = [_edge(nodes, i, at) for i in at if nodes[i].parent is not None]
    parts += [_node(nodes, i, at[i], said[i]) for i in at]
    return _svg(width, height, "".join(parts), "tree", "The tree of the search")


def _rows(
    i: int, children: Mapping[int, Mapping[str, int]], rows: dict[int, float], free: list[int]
) -> float:
    """Give each node a row, leaves one after the other, others the middle of theirs."""
    mine = children.get(i)
    if not mine:
        rows[i], free[0] = float(free[0]), free[0] + 1
    else:
        ends = [_rows(mine[side], children, rows, free) for side in ("good", "bad") if side in mine]
        rows[i] = sum(ends) / len(ends)
    return rows[i]


def _edge(nodes: Sequence[Node], i: int, at: Mapping[int, tuple[float, float]]) -> str:
    parent = nodes[i].parent
    assert parent is not None
    (x0, y0), (x1, y1) = at[parent], at[i]
    x0, y0, y1 = x0 + BOX[0], y0 + BOX[1] / 2, y1 + BOX[1] / 2
    middle = (x0 + x1) / 2
    kind = "best" if nodes[i].best else "side"
    return (
        f'<path class="edge {kind}" d="M{x0:.0f},{y0:.0f}C{middle:.0f},{y0:.0f} {middle:.0f},'
        f'{y1:.0f} {x1:.0f},{y1:.0f}"/>'
    )


def _node(nodes: Sequence[Node], i: int, at: tuple[float, float], said: str) -> str:
    node, (x, y) = nodes[i], at
    side = {"good": "good side", "bad": "other side", None: "all trials"}[node.side]
    star = " ★" if node.best and not node.bars else ""
    first = node.words[0] if node.words else "a leaf"
    label = f"node {i}, {side}: {node.trials} trials, mean {said}. "
    label += f"It is split by: {'; '.join(node.words)}" if node.words else "A leaf."
    classes = f"node{' best' if node.best else ''}{' good' if node.side == 'good' else ''}"
    return (
        f'<g class="{classes}" data-node="{i}" role="button" tabindex="0" aria-pressed="false" '
        f'aria-label="{escape(label)}" transform="translate({x:.0f},{y:.1f})">'
        f'<title>{escape(label)}</title><rect width="{BOX[0]}" height="{BOX[1]}" rx="6"/>'
        f'<text class="big" x="10" y="20">{escape(said)}{star}</text>'
        f'<text class="small" x="{BOX[0] - 10}" y="20" text-anchor="end">{node.trials} trials'
        "</text>"
        f'<text class="small" x="10" y="38">{escape(_cut(first, BOX[0] - 20))}</text></g>'
    )


# -- networks --------------------------------------------------------------------------------------


def operations(drawing: Mapping[str, Any]) -> list[str]:
    """The operations of a network, each once; none where it cannot be drawn."""
    try:
        if drawing.get("kind") == "cells":
            found = [op for cell in drawing["cells"].values() for *_, op in cell["edges"]]
        else:
            found = [name for stage in drawing["stages"] for name in stage["blocks"]]
        return list(dict.fromkeys(map(str, found)))
    except (*BROKEN, LookupError):
        return []


def network(drawing: Mapping[str, Any], title: str, known: Sequence[str] = ()) -> str | None:
    """A network as `drawing` of docs/own-space.md describes it; None where it cannot be drawn.

    known: operations in the order of their colours, so that several drawings have the same.
    """
    order = list(dict.fromkeys([*known, *operations(drawing)]))
    try:
        if drawing.get("kind") == "cells":
            return _cells(drawing, title, order)
        if drawing.get("kind") == "chain":
            return _chain(drawing, title, order)
    except (*BROKEN, LookupError, ZeroDivisionError):
        return None
    return None


def _chain(drawing: Mapping[str, Any], title: str, order: Sequence[str]) -> str:
    """Blocks one after the other, as high as the stage is wide; rows are filled as a text is."""
    blocks = [
        (int(stage["width"]), str(name), first)
        for stage in drawing["stages"]
        for first, name in zip([True] + [False] * 10_000, stage["blocks"], strict=False)
    ]
    if not blocks or len(blocks) > MOST_BLOCKS:
        raise ValueError("no blocks, or too many")
    widest = max(width for width, _, _ in blocks)
    line, x, y, parts, most = 96.0, 0.0, 0.0, [], 0.0
    free = 0.0  # where the label of the next stage may begin
    for width, name, first in blocks:
        w, said = max(34.0, len(name) * LETTER + 12), f"{width} wide"
        x = max(x, free) if first else x
        if x and x + w > 620:
            x, y, free = 0.0, y + line, 0.0
        h = max(12.0, 64.0 * width / widest)
        if first:
            parts.append(f'<text class="small" x="{x:.0f}" y="{y + 11:.0f}">{said}</text>')
            free = x + len(said) * LETTER + 6
        parts.append(_block(x, y + 18 + (64 - h) / 2, w, h, name, order))
        x += w + 5
        most = max(most, x, free)
    return _svg(most, y + line - 4, "".join(parts), "network", title)


def _block(x: float, y: float, w: float, h: float, name: str, order: Sequence[str]) -> str:
    colour = order.index(name) % COLOURS + 1
    return (
        f'<g><title>{escape(name)}</title><rect class="op op{colour}" x="{x:.1f}" y="{y:.1f}" '
        f'width="{w:.1f}" height="{h:.1f}" rx="3"/><text class="on" x="{x + w / 2:.1f}" '
        f'y="{y + h / 2 + 4:.1f}" text-anchor="middle">{escape(_cut(name, 150))}</text></g>'
    )


def _cells(drawing: Mapping[str, Any], title: str, order: Sequence[str]) -> str:
    """The stages to scale on top, and every kind of cell as a graph below."""
    parts, x, widest = [], 0.0, max(int(s["width"]) for s in drawing["stages"])
    for stage in drawing["stages"]:
        h = max(10.0, 44.0 * int(stage["width"]) / widest)
        said = f"{int(stage['repeat'])} x {stage['cell']}, {int(stage['width'])} wide"
        w = max(60.0, len(said) * LETTER)
        parts.append(
            f'<rect class="stage" x="{x:.0f}" y="{(44 - h) / 2:.1f}" width="{w:.0f}" '
            f'height="{h:.1f}" rx="3"/><text class="small" x="{x:.0f}" y="62">{escape(said)}</text>'
        )
        x += w + 14
    y, width = 76.0, x
    for name, cell in drawing["cells"].items():
        drawn, w, h = _graph(cell, order)
        parts.append(f'<text class="small" x="0" y="{y + 10:.0f}">{escape(str(name))}</text>')
        parts.append(f'<g transform="translate(0,{y + 14:.0f})">{drawn}</g>')
        y, width = y + h + 26, max(width, w)
    return _svg(width, y, "".join(parts), "network", title)


def _graph(cell: Mapping[str, Any], order: Sequence[str]) -> tuple[str, float, float]:
    """Nodes in a row, edges as arcs: the further they reach, the higher."""
    nodes = [str(node) for node in cell["nodes"]]
    edges = [(nodes.index(str(a)), nodes.index(str(b)), str(op)) for a, b, op in cell["edges"]]
    if len(nodes) > 40 or len(edges) > MOST_BLOCKS:
        raise ValueError("too many nodes")
    gap, reach = 150.0, max((abs(b - a) for a, b, _ in edges), default=1)
    base = 26.0 + 46 * (reach - 1) if reach > 1 else 30.0
    seen: dict[tuple[int, int], int] = {}
    parts = []
    for a, b, op in edges:
        again = seen[a, b] = seen.get((a, b), -1) + 1
        x0, x1 = 26 + a * gap, 26 + b * gap
        up = 46.0 * (abs(b - a) - 1) * 4 / 3 + 18 * again
        colour = order.index(op) % COLOURS + 1
        x = (x0 + x1) / 2
        top = base - up * 0.75
        w = len(op) * LETTER + 10
        parts.append(
            f'<path class="wire op{colour}" d="M{x0:.0f},{base:.0f}C{x0 + gap / 3:.0f},'
            f'{base - up:.0f} {x1 - gap / 3:.0f},{base - up:.0f} {x1:.0f},{base:.0f}"/>'
            f'<g><title>{escape(op)}</title><rect class="under" x="{x - w / 2:.1f}" '
            f'y="{top - 9:.1f}" width="{w:.1f}" height="18" rx="3"/><rect class="op op{colour}" '
            f'x="{x - w / 2:.1f}" y="{top - 9:.1f}" width="{w:.1f}" height="18" rx="3"/>'
            f'<text class="on" x="{x:.1f}" '
            f'y="{top + 4:.1f}" text-anchor="middle">{escape(op)}</text></g>'
        )
    for i, node in enumerate(nodes):
        x = 26 + i * gap
        parts.append(
            f'<circle class="dot" cx="{x:.0f}" cy="{base:.0f}" r="15"/><text class="small" '
            f'x="{x:.0f}" y="{base + 4:.0f}" text-anchor="middle">{escape(_cut(node, 30))}</text>'
        )
    return "".join(parts), 52 + (len(nodes) - 1) * gap, base + 20


# -- parts -----------------------------------------------------------------------------------------


def _cut(text: str, width: float) -> str:
    most = max(3, int(width / LETTER))
    return text if len(text) <= most else text[: most - 1] + "…"


def _svg(width: float, height: float, inside: str, kind: str, title: str) -> str:
    """width, height: of the drawing in pixels; it is shown at most as wide."""
    w, h = ceil(width), ceil(height)
    role = 'role="group"' if kind == "tree" else 'role="img"'
    return (
        f'<svg class="{kind}" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" '
        f'width="{w}" height="{h}" {role} aria-label="{escape(title)}">{inside}</svg>'
    )
