"""Several searches of one supernet, what is said before a command, and what lies in a folder."""

import json
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import supernet
from lanas.costs import Budget, Cost, Term
from lanas.errors import UserError
from lanas.space import Choice, Space
from lanas.trials import Trial
from supernet.report.budget import Limit, Range, left, number, percent
from supernet.runs import runs, searches
from supernet.score.inherited import SupernetEvaluator
from tests.scripts import RETRAIN, SEARCH, TINY, TRIALS, answer, refused, tree

OTHER = ("--max-params", "12k", "--tag", "other")


# -- searches of one supernet ---------------------------------------------------------------------


def told(folder: Path) -> list[tuple[Any, ...]]:
    """The trials of a search without the time that they took."""
    lines = map(json.loads, (folder / "trials.jsonl").read_text().splitlines())
    return [(line["trial"], tuple(line["arch"]), line["score"]) for line in lines]


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """What is evaluated from now on."""
    found: list[tuple[int, ...]] = []
    evaluate = SupernetEvaluator.__call__

    def watched(self: SupernetEvaluator, archs: Iterable[tuple[int, ...]]) -> Iterator[Trial]:
        asked = list(archs)
        found.extend(asked)
        return evaluate(self, asked)

    monkeypatch.setattr(SupernetEvaluator, "__call__", watched)
    return found


def test_a_search_by_another_budget_evaluates_only_what_is_new(
    run: Path, tmp_path: Path, evaluated: list[tuple[int, ...]]
) -> None:
    """And it has the same trials as one that was made alone."""
    alone = shutil.copytree(run, tmp_path / "alone")
    for gone in ("search", "measured"):
        shutil.rmtree(alone / gone)
    count = 30
    other = (*SEARCH, "--trials", count, "--max-macs", "32k", "--tag", "other")
    assert answer("search", alone, *other).status == 0
    whole = list(evaluated)
    assert len(whole) == count

    first = (*SEARCH, "--trials", count, "--max-params", "4.9k", "--tag", "first")
    assert answer("search", run, *first).status == 0
    there = {arch for tag in ("", "first") for _, arch, _ in told(run / "search" / tag)}
    evaluated.clear()
    assert answer("search", run, *other).status == 0
    assert evaluated == [arch for arch in whole if arch not in there]
    assert len(evaluated) < count, "a test of nothing: no architecture is in both"
    assert told(run / "search" / "other") == told(alone / "search" / "other")


def test_searches_are_listed_by_their_tags(run: Path) -> None:
    assert answer("search", run, *SEARCH, *OTHER).status == 0
    (run / "search" / "odd[b]").mkdir()
    (run / "search" / "odd[b]" / "config.json").write_text("[1")
    before = tree(run)
    first, odd, other = searches(run)
    assert (first.tag, first.trials, first.budgets) == ("", TRIALS, {})
    assert (other.tag, other.trials, other.budgets) == ("other", TRIALS, {"params": 12000.0})
    scores = [score for *_, score in told(run / "search" / "other")]
    assert other.best is not None and other.best[0] == max(scores)
    assert odd.error is not None and "config.json" in odd.error

    done = answer("search", run, "--tags")
    assert (done.status, done.err) == (0, "")
    for words in ("searches of", ": 3", "other", "12.0 k params", "odd[b]", "cannot be read"):
        assert words in done.out, done.out
    assert tree(run) == before
    refused("search", run, "--tags", "--trials", 5, says=("--tags", "--trials"), untouched=run)


# -- the runs of a folder -------------------------------------------------------------------------


def test_runs_of_a_folder(retrained: Path, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(retrained, tmp_path / "deep" / "er" / "done")
    shutil.copytree(trained, tmp_path / "searched")
    begun = Path(shutil.copytree(trained, tmp_path / "begun"))
    (begun / "supernet" / "model.safetensors").unlink()
    shutil.rmtree(begun / "search")
    events = (begun / "history.jsonl").read_text().splitlines()
    (begun / "history.jsonl").write_text(events[0] + "\nbroken\n")
    broken = Path(shutil.copytree(trained, tmp_path / "broken"))
    (broken / "config.json").write_text('{"format": 99}')
    (tmp_path / "link").symlink_to(tmp_path / "searched")
    (tmp_path / "notes").mkdir()

    found = {row.path.name: row for row in runs(tmp_path)}
    assert found.keys() == {"done", "searched", "begun", "broken"}
    assert found["done"].state == "1 retrained"
    (result,) = retrained.glob("retrain/*/result.json")
    test = json.loads(result.read_text())["test"]
    assert found["done"].best == f"test accuracy {100 * test:.2f} %"
    assert found["searched"].state == f"searched, {TRIALS} trials"
    assert re.fullmatch(r"accuracy \d+\.\d\d %", found["searched"].best)
    assert found["begun"].state == "in training, train_supernet runs or was killed"
    failed = json.dumps(json.loads(events[0]) | {"event": "failed"})
    (begun / "history.jsonl").write_text(f"{events[0]}\n{failed}\n")
    (now,) = runs(begun)
    assert now.state == "not trained, train_supernet failed"
    assert found["broken"].state.startswith("cannot be read:") and "99" in found["broken"].state
    assert {row.space for row in found.values()} == {"nb201", "-"}
    assert found["done"].when is not None
    with pytest.raises(UserError, match="no folder"):
        runs(tmp_path / "nothing")


# -- what budgets leave ---------------------------------------------------------------------------

SMALL = Space("small", tuple(Choice(f"c{i}", ("a", "b", "c")) for i in range(3)))
LARGE = Space("large", tuple(Choice(f"c{i}", ("a", "b", "c")) for i in range(20)))


def steps(space: Space, weight: float = 1.0) -> Cost:
    """The sum of the options' numbers."""
    table = weight * np.arange(3.0)
    terms = tuple(Term((i,), table) for i in range(len(space.choices)))
    return Cost("macs", "", 0.0, terms, whole=True)


def test_what_a_budget_leaves_of_a_listed_space_is_exact() -> None:
    found = left(SMALL, [Budget(steps(SMALL), 2)])
    assert (found.inside, found.total, found.drawn) == (10, 27, False)
    assert str(found) == "budget: macs at most 2, of 0 to 6; inside are 10 of 27 networks, 37.0 %"


@pytest.mark.parametrize("space", [SMALL, LARGE])
def test_a_budget_that_leaves_nothing_out_says_so(space: Space) -> None:
    """In a space that is drawn from, too: the largest cost is exact there."""
    most = 2 * len(space.choices)
    found = left(space, [Budget(steps(space), most)])
    assert str(found).endswith(f"at most {most}, of 0 to {most}; inside are all networks")
    assert "all networks" not in str(left(space, [Budget(steps(space), most - 1)]))


def test_a_range_has_the_unit_of_its_budget() -> None:
    some = Range("latency", "ms", 0.2, 0.07, 0.46, exact=False)
    assert str(some) == "latency at most 0.2 ms, of about 0.07 to 0.46 ms"


def test_what_a_budget_leaves_of_a_large_space_is_drawn() -> None:
    """The ends are exact; the share of sums up to 20 of 20 choices is 0.5545, a draw of 10,000."""
    found = left(LARGE, [Budget(steps(LARGE), 20)])
    assert found.ranges == [Range("macs", "", 20, 0, 40, True)]
    assert found.drawn and found.total == 10_000
    # The draws are always the same; 5 standard deviations are 0.025.
    assert abs(found.inside / found.total - 0.5545) < 0.025
    assert "%, by 10,000 draws)" in str(found)
    assert str(found) == str(left(LARGE, [Budget(steps(LARGE), 20)]))


def test_what_is_no_sum_is_counted_of_some() -> None:
    def peaks(archs: Any) -> Any:
        return np.where(archs[:, 0] == 0, 100.0, 900.0)

    limit = Limit("memory", "bytes", peaks, 500.0, slow=True)
    found = left(LARGE, [], [limit])
    assert (found.total, found.drawn) == (300, True)
    assert abs(found.inside / 300 - 1 / 3) < 0.14  # 5 standard deviations
    assert str(found).startswith(
        "budget: memory at most 500 bytes, of about 100 to 900 bytes; inside"
    )
    unknown = Limit("latency", "ms", lambda archs: np.where(archs[:, 0] == 0, np.nan, 4.5), 5.0)
    some = left(SMALL, [], [unknown])
    assert (some.inside, some.total, some.drawn) == (18, 27, False)


def test_numbers_and_shares_are_shown_by_what_counts() -> None:
    assert [number(x) for x in (12_345_678, 4.25, 3.0)] == ["12,345,678", "4.25", "3"]
    assert [percent(x) for x in (0.12345, 0.000123, 0.0, 1.0)] == [
        "12.3 %", "0.012 %", "0.0 %", "100.0 %",
    ]  # fmt: skip


def test_a_search_says_first_what_its_budget_leaves(run: Path) -> None:
    done = answer("search", run, *SEARCH, *OTHER)
    (line,) = [line for line in done.out.splitlines() if line.startswith("budget: ")]
    assert line.startswith("budget: params at most 12,000, of 4,822 to ")
    assert " of 5,260 networks, " in line
    assert "budget: " not in answer("search", run, *SEARCH).out


# -- estimates ------------------------------------------------------------------------------------


def test_an_estimate_trains_nothing(tmp_path: Path) -> None:
    done = answer("train_supernet", tmp_path / "run", *TINY, "--estimate")
    assert (done.status, done.err) == (0, "")
    (line,) = done.out.splitlines()
    assert line.startswith("estimate: ")
    for words in ("3 epochs of 17 steps", "ms a step", "; memory ", "; disk ", "are free"):
        assert words in line
    assert list(tmp_path.iterdir()) == []


def test_an_estimate_counts_what_is_left(run: Path) -> None:
    """Trials, epochs and networks that are there take no time; nothing is written."""
    before = tree(run)
    search = answer("search", run, *SEARCH, "--trials", TRIALS + 7, "--estimate")
    assert "(7 trials to go, " in search.out, search
    trained = answer("train_supernet", run, *TINY, "--estimate")
    assert trained.out.splitlines() == ["estimate: 0 s (it is trained already)"]
    assert tree(run) == before
    (run / "supernet" / "model.safetensors").rename(run / "kept")
    begun = answer("train_supernet", run, *TINY, "--estimate")
    assert "3 epochs of 17 steps, 3 epochs done" in begun.out
    assert begun.out.startswith("estimate: 0 s (")


def test_an_estimate_of_several_networks(retrained: Path) -> None:
    before = tree(retrained)
    none = answer("retrain", retrained, *RETRAIN, "--estimate")
    assert none.out.splitlines() == ["estimate: 0 s (what it names is retrained already)"]
    two = answer("retrain", retrained, *RETRAIN, "--arch", "top:3", "--estimate")
    assert "(2 networks, 6 epochs of 22 steps; " in two.out, two
    assert tree(retrained) == before


def test_an_estimate_counts_checks_and_refuses_a_race(run: Path) -> None:
    before = tree(run)
    checked = ("--check", 3, "--check-epochs", 2, "--check-seeds", 2, "--estimate")
    done = answer("search", run, *SEARCH, "--trials", TRIALS + 1, *checked)
    assert " for 6 checks of 2 epochs)" in done.out, done
    assert tree(run) == before
    refused("retrain", run, "--race", "--estimate", says=("--estimate", "--race"), untouched=run)


def test_an_estimate_is_no_setting(tmp_path: Path) -> None:
    """What would train in place of it is refused, on several devices too."""
    with pytest.raises(UserError, match=r"supernet\.estimate"):
        supernet.train(tmp_path / "run", estimate=True)
    flags = ("--estimate", "--devices", 2, "--device", "cpu")
    refused("train_supernet", tmp_path / "run", *flags, says=("--devices 2",), untouched=tmp_path)


# -- recipes by name ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["digits", "digits.yaml", "recipes/digits.yaml"])
def test_a_recipe_is_found_by_its_name_from_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from supernet.cli.parsing import found_recipe

    monkeypatch.chdir(tmp_path)
    assert found_recipe(Path(name)).resolve() == Path(__file__).parents[1] / "recipes/digits.yaml"
    mine = tmp_path / name
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("epochs: 1\n")
    assert found_recipe(Path(name)) == Path(name), "one's own comes first"


def test_a_recipe_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    run = tmp_path / "run"
    says = ("digitz", "digits", "imagenet-mbconv")
    refused("train_supernet", run, "--config", "digitz", says=says, untouched=tmp_path)
    other = tmp_path / "elsewhere" / "digits.yaml"
    refused("train_supernet", run, "--config", other, says=(str(other),), untouched=tmp_path)
