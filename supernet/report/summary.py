"""A run folder as plain data, for the page, for Markdown and for JSON. Imports no torch.

    found = summary.read("runs/digits")        # writes nothing, runs no code of the folder's
    found.verdict.word, found.found.value, found.searches[0].trials, found.networks

`Report` holds everything; `dataclasses.asdict` makes JSON of it. What cannot be read is a line of
`unread`, what was not measured one of `missing`; neither is an error. Nothing but a missing folder
raises. Rows of searches: `supernet.report.searches`, `.rows`; retrained networks: `.networks`.
"""

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lanas.errors import UserError
from lanas.files import refuse_links_out
from lanas.shares import wilson
from lanas.space import Arch
from supernet.report import networks, searches
from supernet.report.networks import Network
from supernet.report.quantities import COSTS
from supernet.report.reading import Reader, count, counts, curve, mapping, number, texts
from supernet.report.searches import Search
from supernet.run import Run


@dataclass(frozen=True)
class Verdict:
    """Whether the scores can be believed. word: better, worse, undecided or none; of a table exact.

    sentence: what it rests on and what to do. low, high: of tau, by 95 percent.
    """

    word: str
    sentence: str
    tau: float | None = None
    low: float | None = None
    high: float | None = None
    checks: int = 0


@dataclass(frozen=True)
class Found:
    """The network to take: of those retrained the one ranked first by the search, else the first.

    Never the one with the best test value: that would be a choice on test images.

    source: retrained or search. value, low, high: its metric with the 95 % interval (None where
    there is none); on: of which images, or table. tag: of its search. trial: its number there.
    """

    source: str
    arch: tuple[int, ...]
    words: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    on: str
    costs: dict[str, float]
    tag: str = ""
    trial: int | None = None
    network: str | None = None


@dataclass(frozen=True)
class Data:
    """The data: name, task, shape (channels, height, width), images by split, names of classes.

    counts: by split, the images of each class, where that was kept. notes: what was said of it.
    """

    name: str
    task: str
    shape: list[int]
    images: dict[str, int]
    classes: list[str]
    counts: dict[str, list[int]]
    notes: list[str]


@dataclass(frozen=True)
class Span:
    """A part of the time: script (train_supernet, search, check, retrain), of what, how it ended.

    status: finished, stopped, failed, or unfinished (it runs, or was killed). seconds: None where
    unfinished. about: versions, commit, machine, device, threads, seed as history.jsonl has them.
    """

    script: str
    what: str
    began: str
    status: str
    seconds: float | None
    about: dict[str, Any]


@dataclass(frozen=True)
class Report:
    """A run as it is. state: empty, in training, trained, searched, retrained or table.

    metric: of the task; lower: whether less of it is better. verdict, found: of all searches.
    settings: config.json. curve: loss and metric of each epoch of the supernet. times: in order.
    missing: what was not measured, a sentence each. unread: files that could not be read.
    next: the command to go on with. files: what is there to be taken or opened, by what it is.
    """

    name: str
    path: str
    state: str
    metric: str
    lower: bool
    verdict: Verdict
    found: Found | None
    data: Data | None
    network: dict[str, Any]
    settings: dict[str, Any]
    searches: list[Search]
    networks: list[Network]
    curve: list[dict[str, float]]
    times: list[Span]
    missing: list[str]
    unread: list[str]
    next: str
    files: dict[str, str]


LOWER = ("rmse", "mae", "perplexity", "loss")


def read(path: str | Path, tags: Sequence[str] | None = None) -> Report:
    """The run in a folder. tags: of the searches to read; all, if None.

    UserError where there is no such folder, where a link in it leads out, or a tag is not there.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise UserError(f"no run folder {str(folder)!r}; train_supernet.py makes one")
    refuse_links_out(folder)
    reader = Reader()
    config = reader.json(folder / "config.json")
    run = Run(folder, config)
    about = reader.json(run.data_file)
    there = searches.tags(folder)
    if unknown := [tag for tag in tags or () if tag not in there]:
        known = ", ".join(tag or "(none)" for tag in there) or "no search"
        raise UserError(f"{folder} has no search of tag {unknown[0]!r}; there is {known}")
    metric = _metric(run, about, reader)
    found = [searches.read(run, tag, reader, metric) for tag in (there if tags is None else tags)]
    retrained = networks.read(run, reader)
    data = _data(config, about)
    times = _times(run, reader)
    state = _state(run, found, retrained)
    best = _found(found, retrained, data, metric)
    return Report(
        name=folder.resolve().name,
        path=str(folder),
        state=state,
        metric=metric,
        lower=metric in LOWER,
        verdict=_verdict(found),
        found=best,
        data=data,
        network=mapping(config.get("network")),
        settings=config,
        searches=found,
        networks=retrained,
        curve=curve(run.training, reader),
        times=times,
        missing=_missing(found, retrained, data),
        unread=reader.unread,
        next=_next(folder, state, found, best, times),
        files=_files(run, retrained),
    )


def _metric(run: Run, about: dict[str, Any], reader: Reader) -> str:
    """The metric of the run's task: as a result says it, else what the task's usual one is."""
    for file in sorted(run.path.glob("retrain/*/result.json")):
        if isinstance(name := reader.json(file).get("metric"), str):
            return name
    usual = {"regression": "rmse", "dense classification": "miou"}
    return usual.get(str(about.get("task")), "accuracy")


def _data(config: dict[str, Any], about: dict[str, Any]) -> Data | None:
    name = about.get("name", config.get("data"))
    if name is None:
        return None
    images = {split: count(n) for split, n in mapping(about.get("images")).items()}
    return Data(
        Path(str(name)).name,
        str(about.get("task", "")),
        counts(about.get("shape")),
        {split: n for split, n in images.items() if n is not None},
        texts(about.get("classes")),
        {split: counts(each) for split, each in mapping(about.get("counts")).items()},
        texts(about.get("left_out")) + texts(about.get("notes")),
    )


def _times(run: Run, reader: Reader) -> list[Span]:
    """The history as spans; a beginning without an end is unfinished."""
    events = reader.lines(run.history_file, dict)
    spans: list[Span] = []
    for event in events:
        script, kind = str(event.get("script")), event.get("event")
        if kind == "began":
            what = str(event.get("tag") or event.get("folder") or "")
            about = {k: v for k, v in event.items() if k not in ("script", "event", "time")}
            spans.append(Span(script, what, str(event.get("time")), "unfinished", None, about))
            continue
        for i in range(len(spans) - 1, -1, -1):
            open_one = spans[i]
            if open_one.script == script and open_one.status == "unfinished":
                ended = (str(kind), number(event.get("seconds")), open_one.about)
                spans[i] = Span(script, open_one.what, open_one.began, *ended)
                break
    return spans


def _state(run: Run, found: Sequence[Search], retrained: Sequence[Network]) -> str:
    if any(network.done for network in retrained):
        return "retrained"
    if any(search.trials for search in found):
        return "table" if all(search.table for search in found) else "searched"
    if run.weights.is_file():
        return "trained"
    return "in training" if run.config else "empty"


def _verdict(found: Sequence[Search]) -> Verdict:
    """That of the search with the most checks."""
    judged = [s for s in found if s.verdict.get("sentence")]
    if judged:
        best = max(judged, key=lambda s: number(s.verdict.get("checks")) or 0)
        tau = mapping(best.verdict.get("kendall"))
        return Verdict(
            str(best.verdict.get("verdict", "none")),
            str(best.verdict["sentence"]),
            number(tau.get("value")),
            number(tau.get("low")),
            number(tau.get("high")),
            int(number(best.verdict.get("checks")) or 0),
        )
    if found and all(search.table for search in found):
        return Verdict("exact", "The scores are those of a table of known results, not estimates.")
    if not any(search.trials for search in found):
        return Verdict("none", "Nothing was searched yet.")
    if done := sum(len(search.checks) for search in found):
        return Verdict(
            "none",
            f"Not known yet: of the networks to be trained alone {done} are done, and their search "
            "has not ended. The same command of search.py goes on and gives a verdict.",
        )
    return Verdict(
        "none",
        "Not known: no architecture was trained alone to compare the scores with. "
        "search.py --check 9 does that and gives a verdict.",
    )


def _found(
    found: Sequence[Search], retrained: Sequence[Network], data: Data | None, metric: str
) -> Found | None:
    done = [network for network in retrained if network.test is not None]
    if done:
        places = _places(found)
        best = min(reversed(done), key=lambda n: (places.get(n.arch, math.inf), not n.seeds))
        trial = next(((s, t) for s in found for t in s.trials if t.arch == best.arch), None)
        return Found(
            "retrained", best.arch, best.words, best.metric, best.test, best.low, best.high,
            f"{best.test_images} test images", _costs(best.measured),
            trial[0].tag if trial else "", trial[1].number if trial else None, best.name,
        )  # fmt: skip
    search = next((s for s in found if s.best is not None), None)
    if search is None:
        return None
    trial_ = next(t for t in search.trials if t.number == search.best)
    value = trial_.measured.get(metric, trial_.score)
    images = data.images.get("val") if data is not None else None
    low, high = (None, None)
    if metric == "accuracy" and images and value is not None and not search.table:
        with suppress(ValueError):  # no share of images: somebody else's figures
            low, high = wilson(round(value * images), images)
    on = f"{images} val images, by inherited weights" if images else "val, by inherited weights"
    on = f"the table {Path(search.table).name}" if search.table else on
    name = search.score if search.table else metric
    return Found(
        "search", trial_.arch, search.words(trial_.arch), name, value, low, high, on,
        _costs(trial_.measured), search.tag, trial_.number,
    )  # fmt: skip


def _places(found: Sequence[Search]) -> dict[Arch, int]:
    """The best place of each architecture in the rankings of the searches, 0 the first."""
    places: dict[Arch, int] = {}
    for search in found:
        archs = {trial.number: trial.arch for trial in search.trials}
        for place, trial in enumerate(search.ranking):
            arch = archs[trial]
            places[arch] = min(place, places.get(arch, place))
    return places


def _costs(measured: dict[str, float]) -> dict[str, float]:
    return {name: measured[name] for name in COSTS if name in measured}


def _missing(found: Sequence[Search], retrained: Sequence[Network], data: Data | None) -> list[str]:
    """What was not measured, a sentence each."""
    lines = []
    trials = [trial for search in found for trial in search.trials]
    supernets = [search for search in found if not search.table]
    if not trials:
        lines.append("Nothing was searched: no architecture has a score.")
    if supernets and trials and not any(search.checks for search in supernets):
        lines.append("No architecture was trained alone, so scores were compared with nothing.")
    if supernets and trials and not any(network.test is not None for network in retrained):
        lines.append(
            "No network was retrained: the accuracy is that of inherited weights on val images, "
            "which the search has picked from; on test images nothing was measured."
        )
    names = {name for trial in trials for name in trial.measured}
    for name, words in (("latency", "Latency"), ("energy", "Energy"), ("memory", "Peak memory")):
        if trials and name not in names:
            lines.append(f"{words} of the trials.")
    if supernets:
        lines.append("Another seed of the supernet: how much the scores change with it.")
    if any(n.test is not None for n in retrained) and not any(n.seeds for n in retrained):
        lines.append("Another seed of the retraining: the interval holds test images alone.")
    if trials and {search.optimiser for search in found} == {"lanas"}:
        lines.append("Random search at the same number of trials, to compare LaNAS with.")
    failed = sum(trial.error is not None for trial in trials)
    if failed:
        lines.append(f"{failed} of {len(trials)} trials, which failed.")
    return lines


def _next(
    folder: Path, state: str, found: Sequence[Search], best: Found | None, times: Sequence[Span]
) -> str:
    """The command that goes on from here."""
    from shlex import quote

    run = quote(str(folder))
    if state in ("empty", "in training"):
        return f"python train_supernet.py {run} ..."
    if state == "trained":
        return f"python search.py {run}"
    if state == "table":
        search = found[0]
        tag = f" --tag {quote(search.tag)}" if search.tag else ""
        score = search.config.get("column")
        named = f" --score {quote(str(score))}" if score else ""
        table = f"--table {quote(str(search.table))} --space {quote(search.space)}{named}"
        return f"python search.py {run} {table}{tag} --trials {2 * len(search.trials)}"
    last = times[-1] if times else None
    cut = last is not None and last.script == "search" and last.status in ("unfinished", "stopped")
    if state == "searched" and last and cut:
        return f"python search.py {run}" + (f" --tag {quote(last.what)}" if last.what else "")
    if state == "searched" and best is None:  # all failed: what failed is not tried again
        return f"python search.py {run} --tag again"
    if state == "searched" or best is None or best.network is None:
        tag = next((s.tag for s in found if s.trials), "")
        return f"python retrain.py {run}" + (f" --search-tag {quote(tag)}" if tag else "")
    return f"python -m supernet.predict {quote(str(folder / 'retrain' / best.network))} PHOTOS"


def _files(run: Run, retrained: Sequence[Network]) -> dict[str, str]:
    """Paths from the run folder, of files that are there."""
    found = {}
    for network in retrained:
        for name in network.files:
            path = run.network(network.name).path / name
            if Path(name).name == name and path.is_file():
                found[f"{network.name}: {name}"] = path.relative_to(run.path).as_posix()
    for what, path in (("supernet", run.weights), ("trials", run.search().trials)):
        if path.is_file():
            found[what] = path.relative_to(run.path).as_posix()
    return found
