"""The parts of the page that are no plots: networks, mistakes, files, data, settings."""

from typing import Any

from lanas.errors import plain
from lanas.space import Arch
from supernet.report import answers, images
from supernet.report.cards import drawing_of
from supernet.report.content import best_network
from supernet.report.quantities import quantity
from supernet.report.reading import number
from supernet.report.summary import Report


def networks(run: Report, several: bool) -> list[dict[str, Any]]:
    """The found network beside the largest, and the best of the front."""
    wanted: list[tuple[str, Arch, str, str]] = []
    before = f"{plain(run.name)}: " if several else ""
    if run.found is not None:
        about = ", ".join(answers.costs(run.found.costs))
        wanted.append(("the found network", run.found.arch, about, run.found.words))
    search = next((s for s in run.searches if s.trials), None)
    if search is not None:
        scored = [t for t in search.trials if t.score is not None]
        best = next((t for t in scored if t.number == search.best), None)
        by_macs = [t for t in scored if "macs" in t.measured]
        if best is not None:
            under = "the best under the budget" if search.budgets else "the best of the search"
            about = ", ".join(answers.costs(best.measured))
            wanted.append((under, best.arch, about, search.words(best.arch)))
        if by_macs:
            largest = max(by_macs, key=lambda t: t.measured["macs"])
            about = ", ".join(answers.costs(largest.measured))
            title = "the largest that was tried"
            wanted.append((title, largest.arch, about, search.words(largest.arch)))
    found, seen = [], set()
    for title, arch, about, words in wanted:
        if arch in seen:
            continue
        seen.add(arch)
        named = [each.partition("=") for each in words.split(",")] if words else []
        found.append(
            {
                "title": f"{before}{title}",
                "about": about,
                "drawing": drawing_of(run, arch, title),
                "choices": [(name, option) for name, _, option in named],
            }
        )
    return found


def mistakes(run: Report) -> list[dict[str, Any]]:
    best = best_network(run)
    if best is None:
        return []
    pictures = images.mistakes(run, best)

    def name(i: int) -> str:
        return best.classes[i] if i < len(best.classes) else str(i)

    return [
        {
            "index": each.index,
            "target": name(each.target),
            "answer": name(each.taken_for),
            "sure": f"{100 * each.confidence:.1f} %",
            "image": pictures.get(each.index, (None, ""))[0],
            "kind": pictures.get(each.index, (None, ""))[1],
        }
        for each in best.mistakes
    ]


def files(run: Report) -> dict[str, Any] | None:
    best = best_network(run)
    if best is None or not best.files:
        return None
    of = quantity(best.metric)
    rows = []
    for name, about in best.files.items():
        size, test, off = (number(about.get(key)) for key in ("bytes", "test", "difference"))
        rows.append(
            [
                plain(name),
                "-" if size is None else f"{size / 1000:,.1f}",
                of(test),
                "-" if off is None else f"{off:.1e}",
            ]
        )
    return {"heads": ["file", "kB", f"test {of.title}", "difference to torch"], "rows": rows}


def data(run: Report) -> dict[str, Any]:
    data = run.data
    assert data is not None
    pairs = [
        ("name", plain(data.name)),
        ("task", data.task or "-"),
        ("images (channels, height, width)", " x ".join(map(str, data.shape)) or "-"),
    ]
    pairs += [(split, f"{n:,} images") for split, n in data.images.items()]
    if data.classes:
        named = ", ".join(data.classes[:40]) + (", …" if len(data.classes) > 40 else "")
        pairs.append(("classes", f"{len(data.classes)}: {named}"))
    pairs += [("note", plain(note)) for note in data.notes]
    return {"pairs": pairs, "sheet": images.sheet(run)}


def settings(run: Report, several: bool) -> list[dict[str, Any]]:
    before = f"{plain(run.name)}: " if several else ""
    found = []

    def add(name: str, values: dict[str, Any]) -> None:
        if values:
            rows = [(str(key), _text(value)) for key, value in values.items()]
            found.append({"name": before + name, "pairs": rows})

    add("supernet", {k: v for k, v in run.settings.items() if k != "network"} | run.network)
    for search in run.searches:
        add(f"search {search.tag}".strip(), search.config)
    for net in run.networks:
        add(
            f"retrained {net.name}",
            net.settings | ({"command": net.command} if net.command else {}),
        )
    for span in run.times:
        what = " ".join(filter(None, (span.script, span.what)))
        add(f"{span.began} {what}, {span.status}", span.about)
    return found


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return plain(", ".join(f"{key} {each}" for key, each in value.items()) or "-")[:2000]
    if isinstance(value, list):
        return plain(", ".join(map(str, value)) or "-")[:2000]
    return "-" if value is None else plain(value)[:2000]
