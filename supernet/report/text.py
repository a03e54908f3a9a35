"""A report as Markdown: for a README, a pull request, a notebook.

print(markdown(summary.read("runs/digits")))
"""

import re
from collections.abc import Iterator, Sequence

from rich.table import Table
from rich.text import Text

from lanas.errors import plain
from lanas.space import arch_id
from supernet.report import answers
from supernet.report.networks import Network
from supernet.report.quantities import quantity
from supernet.report.reading import mapping, number
from supernet.report.searches import Search
from supernet.report.summary import Report
from supernet.report.tables import COSTS, shown

BEST = 10  # trials of a search that are shown
WORTH = 5  # choices that are named, of those that decide most

# -- Markdown ------------------------------------------------------------------------------------


def escaped(value: object) -> str:
    """A text that Markdown shows as it is: no markup, no HTML, one line."""
    return re.sub(r"([\\`*_{}\[\]<>#|!&~$])", r"\\\1", plain(value))


def code(value: object) -> str:
    """A text as code, in a table as well."""
    text = plain(value).replace("|", "\\|")
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    space = " " if "`" in text else ""
    return f"{fence}{space}{text}{space}{fence}"


WORDS = ("", "network", "file", "architecture", "trained alone", "drawn as")  # not numbers


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table; its cells are Markdown. A column of numbers stands on the right."""
    marks = ["---" if head in WORDS else "---:" for head in heads]
    return [f"| {' | '.join(cells)} |" for cells in (heads, marks, *rows)] + [""]


def of_rich(found: Table) -> list[str]:
    """The lines of a table that was made for a terminal."""
    heads = [escaped(_text(column.header)) for column in found.columns]
    cells = [[escaped(_text(cell)) for cell in column.cells] for column in found.columns]
    title = [f"**{escaped(_text(found.title))}**", ""] if found.title else []
    return [*title, *table(heads, list(zip(*cells, strict=True)))]


def _text(value: object) -> str:
    return value.plain if isinstance(value, Text) else str(value)


# -- the report ----------------------------------------------------------------------------------


def markdown(report: Report) -> str:
    """What a run says: the verdict, the network found, the searches, what was not measured."""
    word, _ = answers.word(report)
    verdict = f"> **{word}.** {escaped(report.verdict.sentence)}"
    lines = [f"## {escaped(report.path)}", "", verdict, ""]
    lines += table(["", ""], [[f"**{name}**", said] for name, said in _card(report)])
    for search in report.searches:
        lines += _search(search, report)
    if report.networks:
        lines += _networks(report.networks)
    for head, said in (("Not measured", report.missing), ("Not readable", report.unread)):
        if said:
            lines += [f"### {head}", "", *(f"- {escaped(line)}" for line in said), ""]
    return "\n".join(lines).rstrip()


def _card(report: Report) -> Iterator[tuple[str, str]]:
    """The rows of the card."""
    yield "state", escaped(report.state)
    if report.data is not None:
        parts = ", ".join(f"{n:,} {split}" for split, n in report.data.images.items())
        yield "data", escaped(f"{report.data.name}: {parts}" if parts else report.data.name)
    found = report.found
    if found is not None:
        interval = answers.interval(report)
        said = answers.value(report) + (f" ({interval})" if interval else "")
        yield "network", f"{code(arch_id(found.arch))} {escaped(found.words.replace(',', ', '))}"
        yield f"{escaped(found.metric)}", escaped(f"{said}, {found.on}")
        yield "cost", escaped(", ".join(answers.costs(found.costs)) or "-")
        for search in report.searches:
            if search.tag == found.tag and search.trials:
                yield "matters most", escaped(answers.matters(search, report))
    yield "took", escaped(answers.took(report))
    yield "go on", code(report.next)


def _at_most(cost: str, most: float) -> str:
    shown = quantity(cost)
    named = cost in shown.unit.lower()  # as MACs are
    return f"at most {shown(most)}" if named else f"{cost} at most {shown(most)}"


def _search(search: Search, report: Report) -> list[str]:
    name = f"Search {code(search.tag)}" if search.tag else "Search"
    budgets = ", ".join(_at_most(cost, most) for cost, most in search.budgets.items())
    size = "" if search.size is None else f" of {search.size:,}"
    said = f"{search.optimiser}, {len(search.trials)} trials{size} ({search.space})"
    said += f", by {search.score}, {budgets or 'no budget'}"
    rows = {trial.number: trial for trial in search.trials}
    order = search.ranking[:BEST]
    if len(search.objectives) > 1:
        said += f"; objectives {', '.join(search.objectives)}"
        order = [trial.number for trial in search.trials if trial.front]
    best = [rows[number] for number in order]
    names = [name for name in COSTS if any(name in trial.measured for trial in best)]
    own = shown(search.metric or search.score)
    sign = -1.0 if search.lower else 1.0
    lines = [f"### {name}", "", escaped(said) + ".", ""]
    if best:
        heads = ["trial", own.head, *(COSTS[each].head for each in names), "architecture"]
        cells = [
            [
                str(trial.number),
                own(None if trial.score is None else sign * trial.score),
                *(COSTS[each](trial.measured.get(each)) for each in names),
                escaped(search.words(trial.arch).replace(",", ", ")),
            ]
            for trial in best
        ]
        lines += table([escaped(head) for head in heads], cells)
    lines += _worth(search)
    return lines + _checks(search, report)


def _worth(search: Search) -> list[str]:
    """The choices that decide most, where that was computed."""
    if not search.importance:
        return []
    most = sorted(search.importance.items(), key=lambda item: -item[1])[:WORTH]
    said = ", ".join(f"{escaped(name)} {100 * share:.0f} %" for name, share in most)
    return [f"Choices that decide most (PED-ANOVA): {said}.", ""]


def _checks(search: Search, report: Report) -> list[str]:
    """Architectures trained alone beside their scores."""
    if not search.checks:
        return []
    own, score = shown(report.metric), shown(search.metric or search.score)
    heads = ["trained alone", f"alone, {own.head}", f"score, {score.head}", "drawn as"]
    sign = -1.0 if search.lower else 1.0
    cells = [
        [
            code(arch_id(row.arch)),
            own(row.alone),
            score(None if row.score is None else sign * row.score),
            escaped(row.part),
        ]
        for row in sorted(search.checks, key=lambda row: -row.alone * (-1 if report.lower else 1))
    ]
    return table([escaped(head) for head in heads], cells)


def _networks(networks: Sequence[Network]) -> list[str]:
    lines = ["### Retrained", ""]
    unit = escaped(shown(networks[0].metric).head.removeprefix("val "))
    heads = ["network", f"test {unit}".strip(), "MMACs", "k params", "ms, 1 image"]
    cells = []
    for each in networks:
        own = shown(each.metric)
        interval = "" if each.low is None else f" ({own(each.low)} to {own(each.high)})"
        times = each.latency.get("batch 1")
        median = number(mapping(times).get("median_ms"))
        said = f"{own(each.test)}{interval}" if each.done else "in training"
        costs = [COSTS[name](each.measured.get(name)) for name in ("macs", "params")]
        cells.append([code(each.name), escaped(said), *costs, COSTS["latency"](median)])
    return lines + table(heads, cells)
