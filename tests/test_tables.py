"""Tables in the terminal: a score and what was measured, whatever it is called."""

import io
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from lanas import RandomSearch
from lanas.rank import ranked
from lanas.scores import PLAIN, Score, make
from lanas.trials import Trial
from supernet.report import tables
from supernet.report.tables import (
    Line,
    fits,
    ranking_table,
    result_table,
    retrained_table,
    show,
)
from tests import toys

SPACE = toys.plain(2, 3)


def cells(table: Table) -> dict[str, list[str]]:
    """Each column by its head."""
    return {str(column.header): [str(cell) for cell in column.cells] for column in table.columns}


def searched(score: Score, trials: list[Trial], *objectives: str) -> RandomSearch:
    optimiser = RandomSearch(SPACE, score=score, objectives=objectives or ("score",))
    optimiser.tell(trials)
    return optimiser


TRIALS = [
    Trial((0, 1), {"accuracy": 0.5, "soft": 0.25, "rmse": 3.0, "macs": 2e6, "memory": 2.0**20}),
    Trial((1, 1), {"accuracy": 0.75, "soft": 0.125, "rmse": 2.0, "macs": 4e6, "memory": 2.0**21}),
    Trial((2, 1), {"macs": 1e6}, error="RuntimeError: out of memory"),
]


@pytest.mark.parametrize(
    ("score", "head", "best"),
    [
        (make("accuracy"), "val %", ["75.00", "50.00"]),
        (make("soft"), "soft %", ["25.00", "12.50"]),
        (make("rmse", lower=True), "rmse", ["2.000", "3.000"]),
        (make("soft", size_prior=5, median_macs=2e6), "score", ["25.00", "16.88"]),
    ],
)
def test_the_score_comes_first_and_no_measurement_twice(
    score: Score, head: str, best: list[str]
) -> None:
    found = cells(result_table(searched(score, TRIALS), TRIALS, words=False))
    assert list(found)[:2] == ["trial", head] and found[head] == best
    metrics = {"val %", "soft %", "rmse"} - {head}
    assert set(found) == {"trial", head, "MMACs", "MiB", "architecture", *metrics}
    assert set(found["architecture"]) == {"0-1", "1-1"}
    assert cells(ranking_table(ranked(TRIALS, score), score, len(TRIALS))) == found
    words = cells(result_table(searched(score, TRIALS), TRIALS))
    assert words.pop("architecture") != found.pop("architecture") and words == found


def test_a_table_in_words_fits_where_each_trial_has_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Exactly: in the width that it takes, and in no smaller one."""
    table = result_table(searched(make("accuracy"), TRIALS), TRIALS)
    out = io.StringIO()
    Console(file=out, width=400).print(table)
    width = max(map(len, out.getvalue().splitlines()))
    for columns in (width, width - 1):
        monkeypatch.setattr(tables, "console", lambda columns=columns: Console(width=columns))
        assert fits(table) is (columns == width)


def test_a_table_in_units_of_its_own() -> None:
    trials = [Trial((0, 0), {"score": 94.25, "latency": 1.5}), Trial((1, 0), {"score": 93.0})]
    found = cells(result_table(searched(PLAIN, trials), trials))
    assert found["score"] == ["94.250", "93.000"] and found["ms"] == ["1.500", "-"]


def test_a_front_leaves_out_what_is_dominated() -> None:
    worse = Trial((0, 0), {"accuracy": 0.4, "macs": 3e6})
    trials = [*TRIALS, worse]
    optimiser = searched(make("accuracy"), trials, "score", "macs")
    assert cells(result_table(optimiser, trials))["trial"] == ["1", "0"]


@pytest.mark.parametrize(
    ("metric", "heads", "values"),
    [
        ("accuracy", ("val %", "test %"), ("75.00", "62.50")),
        ("rmse", ("val rmse", "test rmse"), ("2.000", "0.625")),
        (None, ("val %", "test %"), ("75.00", "62.50")),
    ],
)
def test_a_retrained_network_is_shown_by_its_own_metric(
    metric: str | None, heads: tuple[str, str], values: tuple[str, str]
) -> None:
    times = {"median_ms": 1.0, "p25_ms": 1.0, "p75_ms": 1.0}
    result: dict[str, Any] = {"arch": [1, 1], "test": 0.625, "macs": 4e6, "params": 1e3}
    result |= {"latency": {"batch 1": times, "batch 64": times}}
    result |= {} if metric is None else {"metric": metric}
    found = cells(retrained_table([result, result | {"arch": [0, 0]}], TRIALS))
    assert [found[head][0] for head in heads] == list(values)
    assert [found[head][1] for head in heads] == ["-", values[1]], "one that was no trial"


def test_a_long_architecture_is_folded_and_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    times = {"median_ms": 10.25, "p25_ms": 10.0, "p75_ms": 10.5}
    result = {"arch": [1, 2] * 20, "test": 0.625, "macs": 4e6, "params": 1.5e6}
    result |= {"latency": {"batch 1": times, "batch 64": times}}
    show(retrained_table([result], []))
    printed = capsys.readouterr().out
    assert "…" not in printed and printed.count("1-2-") + printed.count("2-1-") >= 19
    assert "10.25 (10.00-10.50)" in printed and "1500.000" in printed


def test_the_live_line_takes_failed_trials() -> None:
    line = Line(9, TRIALS, make("accuracy"))
    assert (line.count, line.best) == (3, 0.75)
    line.update(Trial((0, 0), error="failed"))
    line.update(Trial((2, 2), {"accuracy": 0.875}))
    assert (line.count, line.best) == (5, 0.875)
