"""Which trials are handed on, where scores are exact and where they are noisy."""

from pathlib import Path

import numpy as np
import pytest

import supernet
from lanas.handed import LEARNED, LIKELY, handed_on, spread
from lanas.rank import ranked
from lanas.scores import PLAIN
from lanas.space import Arch, as_tuples
from lanas.trials import Trial
from supernet.api.searching import told
from tests import toys


def drawn(seed: int, n: int, noise: float) -> tuple[list[Trial], toys.Table]:
    """Trials of random architectures with noise of so many deviations, and what is true."""
    space, rng = toys.plain(), np.random.default_rng(seed)
    table = toys.with_pairs(space, seed)
    archs = as_tuples(np.unique(space.sample(rng, 2 * n), axis=0))
    spreading = noise * float(np.std(list(table.values())))
    some = [archs[i] for i in rng.permutation(len(archs))[:n]]
    return [toys.scored(arch, table[arch] + spreading * rng.normal()) for arch in some], table


def handed(trials: list[Trial], k: int) -> list[Arch]:
    rows = handed_on(toys.plain(), ranked(trials, PLAIN), PLAIN, k)
    return [row.trial.arch for row in rows]


def test_under_noise_less_is_lost_than_by_the_best_score() -> None:
    """40 fixed seeds of 100 trials: one no worse in the mean, the best of five at most half."""
    lost = []
    for seed in range(40):
        trials, table = drawn(seed, 100, 0.5)
        best = max(table[trial.arch] for trial in trials)
        first = ranked(trials, PLAIN)[0].trial.arch
        five = handed(trials, 5)
        lost.append([best - table[first], best - table[five[0]], best - max(map(table.get, five))])  # type: ignore[type-var, operator, arg-type]
    incumbent, one, of_five = np.mean(lost, axis=0)
    assert one < incumbent
    assert of_five < 0.5 * incumbent


def test_where_scores_are_exact_the_best_score_comes_first() -> None:
    for seed in range(10):
        trials, _ = drawn(seed, 60, 0.0)
        assert handed(trials, 3)[0] == ranked(trials, PLAIN)[0].trial.arch


@pytest.mark.parametrize(("n", "k"), [(10, 4), (40, 40), (LIKELY + 20, LIKELY + 10), (400, 350)])
def test_as_many_as_asked_each_once(n: int, k: int) -> None:
    trials, _ = drawn(0, n, 0.3)
    trials[3] = toys.failed(trials[3].arch)
    found = handed(trials, k)
    assert len(set(found)) == len(found) == min(k, n - 1)
    assert trials[3].arch not in found
    assert n < LEARNED or k > LIKELY
    assert handed(trials, 3) == found[:3]
    assert handed(trials, 0) == []


def test_few_trials_are_handed_on_by_their_score() -> None:
    trials, _ = drawn(0, 12, 1.0)
    assert handed(trials, 5) == [row.trial.arch for row in ranked(trials, PLAIN)[:5]]


def test_what_is_alike_is_not_handed_on_twice() -> None:
    """The second best is sure to be as good as the first; the third may be better."""
    mean = np.array([1.0, 0.99, 0.7])
    covariance = np.array([[0.2, 0.2, 0.0], [0.2, 0.2, 0.0], [0.0, 0.0, 0.2]])
    assert spread(mean, covariance, 2) == [0, 2]
    assert spread(mean, np.zeros((3, 3)), 3) == [0, 1, 2]


def test_a_line_names_both_where_another_than_the_best_score_is_handed_on(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the flag in it takes the best score. Where that one is handed on nothing is said."""
    first, second, *_ = ranked(*told(supernet.Run.open(run)))
    assert supernet.select(run, "best") == [first.trial.arch]
    assert capsys.readouterr().out == ""
    monkeypatch.setattr("lanas.handed.handed_on", lambda space, rows, score, k: [rows[1]])
    assert supernet.select(run, "best") == [second.trial.arch]
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(
        f"trial {second.number} (score {second.score:.4g}) is handed on in place of trial "
        f"{first.number}, whose score of {first.score:.4g} "
    )
    flag = line.partition("; --arch ")[2].split()[0]
    assert supernet.select(run, flag) == [first.trial.arch]
