"""The events of a search on disk: what was asked, and what came back, in the order it was told.

    log = SearchLog(folder, Measurements(run / "measured" / "KEY.jsonl"))
    log.ask([arch]); log.tell([trial], [0.9])

A search's folder holds `config.json` (its settings; the frozen `score`, and `measured`, the path
of the measurements relative to it), `asked.jsonl` (each architecture asked for, with the number of
trials told by then) and `trials.jsonl` (a line a trial). What was measured is looked up in the
measurements, by architecture.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lanas.errors import UserError, short
from lanas.files import Record, opened, read_object
from lanas.lines import Lines
from lanas.scores import PLAIN, Score, score_from_file
from lanas.space import Arch, Space
from lanas.trials import Measurements, Trial, arch_of, number_of, text_of

FORMAT = 2  # of config.json; the first edition has no number


def frozen(folder: Path, score: Score, measurements: Path) -> dict[str, Any]:
    """What `config.json` of a search's folder says beside its settings, for `read_search`."""
    relative = os.path.relpath(measurements.resolve(), folder.resolve())
    return {"format": FORMAT, "score": score.to_data(), "measured": relative}


# -- going on ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """A line of `trials.jsonl`: a failed trial has `error`, any other was measured."""

    trial: int
    arch: Arch
    seconds: float
    error: str | None

    @classmethod
    def of(cls, record: Record) -> "Told":
        if "costs" in record:
            raise TypeError("it is of the first edition, beside a config.json of the second")
        if record["score"] is not None:
            number_of(record["score"])
        if type(record["trial"]) is not int:
            raise TypeError(f"trial {short(record['trial'])} is no whole number")
        arch, seconds = arch_of(record["arch"]), number_of(record["seconds"])
        return cls(record["trial"], arch, seconds, text_of(record.get("error")))


def _asked(record: Record) -> Arch:
    if type(record["told"]) is not int or record["told"] < 0:
        raise TypeError(f"told {short(record['told'])} is no number of trials")
    return arch_of(record["arch"])


class SearchLog:
    """What a search has asked and been told; open it under the lock of its folder.

    UserError where the folder holds a search of the first edition, which cannot go on, and where
    a trial is not among the measurements.
    """

    def __init__(self, folder: Path, measurements: Measurements) -> None:
        self.folder, self.path = folder, folder / "trials.jsonl"
        self.measurements = measurements
        refuse_foreign(folder)
        self._asked_lines = Lines(folder / "asked.jsonl", _asked)
        self._told_lines = Lines(self.path, Told.of)
        self.asked: list[Arch] = self._asked_lines.read()
        self.trials = _with_measurements(self._told_lines.read(), measurements, self.path)

    def __len__(self) -> int:
        return len(self.trials)

    @property
    def waiting(self) -> list[Arch]:
        """What was asked and not told, in the order in which it was asked."""
        told = {trial.arch for trial in self.trials}
        return [arch for arch in dict.fromkeys(self.asked) if arch not in told]

    def check(self, space: Space) -> None:
        """UserError where what was asked or told is not of the space."""
        for arch in dict.fromkeys([*(trial.arch for trial in self.trials), *self.asked]):
            space.check(arch)

    def ask(self, archs: Sequence[Arch]) -> None:
        """Put on disk that these were asked for, with one sync."""
        told = len(self.trials)
        self._asked_lines.append([{"arch": arch, "told": told} for arch in archs])
        self.asked += archs

    def tell(self, trials: Sequence[Trial], scores: Sequence[float]) -> None:
        """Put trials on disk that the measurements hold already, with one sync.

        scores: nan where one has none.
        """
        pairs = zip(trials, scores, strict=True)
        self._told_lines.append(
            [self._record(number, *pair) for number, pair in enumerate(pairs, len(self.trials))]
        )
        self.trials += trials

    def _record(self, number: int, trial: Trial, score: float) -> Record:
        record: Record = {"trial": number, "arch": trial.arch}
        record["score"] = score if math.isfinite(score) else None
        record["seconds"] = trial.seconds
        if trial.error is not None:
            record["error"] = trial.error
            if (file := self.measurements.traceback(trial.arch)) is not None:
                record["traceback"] = os.path.relpath(file.resolve(), self.folder.resolve())
        return record


def _with_measurements(
    lines: Sequence[Told], measurements: Measurements, path: Path
) -> list[Trial]:
    """The trials of these lines; UserError where one has no measurement or another number."""
    trials = []
    for number, line in enumerate(lines):
        if line.trial != number:
            raise UserError(
                f"{path} line {number + 1} is broken: it is of trial {line.trial}, and trial "
                f"{number} is due; mend or remove that line"
            )
        known = measurements.of(line.arch)
        if line.error is not None:  # a later search may have measured it after all
            costs = known.measured if known is not None and known.error is not None else {}
            trials.append(Trial(line.arch, costs, line.seconds, line.error))
        elif known is None or known.error is not None:
            raise UserError(
                f"{path} line {number + 1}: trial {number} was measured, but "
                f"{measurements.path} does not hold it; put that file back"
            )
        else:
            trials.append(replace(known, seconds=line.seconds))
    return trials


# -- reading -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Searched:
    """A search as it lies on disk: its trials in order, and the score that it maximised.

    config: its settings; empty where there is no search.
    """

    path: Path  # of trials.jsonl
    trials: list[Trial]
    score: Score = PLAIN
    config: Mapping[str, Any] = field(default_factory=dict)


def read_search(path: Path, *, trust: bool = False) -> Searched:
    """The search in a folder, or the one whose `trials.jsonl` this is; writes nothing.

    trust: whether a score of the user's own is run though none of their commands has named it.

    One of the first edition is read by its `config.json`: what was not measured is absent.
    UserError in one line where something is broken.
    """
    folder = path if path.is_dir() else path.parent
    log = folder / "trials.jsonl" if path.is_dir() else path
    config = _read_config(folder / "config.json")
    if not log.exists():
        return Searched(log, [], config=config)
    if _first_edition(config, log):
        lines = Lines(log, _OldLines(config)).read()
        return Searched(log, lines, _old_score(config), config)
    where, copy = folder / "config.json", folder / "score.py"
    score = score_from_file(config.get("score"), where, copy, trust)
    measurements = _measurements_of(folder, config.get("measured"))
    told = Lines(log, Told.of).read()
    return Searched(log, _with_measurements(told, Measurements(measurements), log), score, config)


def _measurements_of(folder: Path, name: object) -> Path:
    """The measurements of a search by their path from its folder; UserError outside of the run."""
    said = f"{folder / 'config.json'}: measured is {short(name)}"
    if not isinstance(name, str):
        raise UserError(f"{said}, not a path")
    path = Path(os.path.normpath(folder.absolute() / name))
    run = next((f.parent for f in folder.absolute().parents if f.name == "search"), None)
    if folder.name == "search":
        run = folder.absolute().parent
    if os.path.isabs(name) or (run is not None and run not in path.parents):
        raise UserError(f"{said}, which leads out of the run folder")
    return folder / name


def _read_config(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    config = read_object(path)
    if config.get("format", 1) not in (1, FORMAT):
        raise UserError(
            f"{path} is of format {short(config['format'])}; this version reads 1 and {FORMAT}"
        )
    return config


# -- the first edition ---------------------------------------------------------------------------


def refuse_foreign(folder: Path) -> None:
    """UserError where the folder holds a search that cannot go on.

    That is one of the first edition, and events without the config.json that says of what search.
    """
    log, config = folder / "trials.jsonl", _read_config(folder / "config.json")
    if log.exists() and _first_edition(config, log):
        raise UserError(
            f"{folder} holds a search of the first edition, which can be ranked and retrained "
            "from, but not continued: begin another beside it with --tag NAME"
        )
    if not config and (log.exists() or (folder / "asked.jsonl").exists()):
        raise UserError(
            f"{folder} holds events of a search without its config.json: put that back, or remove "
            "asked.jsonl and trials.jsonl as well"
        )


def _first_edition(config: Mapping[str, Any], log: Path) -> bool:
    """Whether a log is of the first edition: by its config.json, or where none is by its lines."""
    if config:
        return "format" not in config
    with opened(log) as file:
        return b'"costs"' in file.readline(1 << 20)


def _old_score(config: Mapping[str, Any]) -> Score:
    """What a search of the first edition maximised.

    With a prior of size it is the score as it was logged: the median that it was counted from is
    not known. So it is where no config.json says what a score was.
    """
    if not config or config.get("table") or config.get("size_prior"):
        return PLAIN
    return Score("soft" if config.get("score") == "soft" else "accuracy")


class _OldLines:
    """A line of the first edition to a trial: what was measured by the names of today."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.name = _old_score(config).name

    def __call__(self, record: Record) -> Trial:
        measured = {str(name): number_of(value) for name, value in record["costs"].items()}
        if record.get("metric") is not None:
            measured["accuracy"] = number_of(record["metric"])
        error = text_of(record.get("error"))
        if record["score"] is None:
            error = error or "failed"
        else:
            measured[self.name] = number_of(record["score"])
        return Trial(arch_of(record["arch"]), measured, number_of(record["seconds"]), error)
