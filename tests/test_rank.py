"""Rankings of a search by another score: nothing is evaluated, nothing of torch is imported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lanas.errors import UserError
from lanas.events import Searched, frozen, read_search
from lanas.rank import keep, main, ranked, ranking_file, rescored, score_of, slug
from lanas.scores import PLAIN, Score, make
from lanas.trials import Measurements, Trial

ROOT = Path(__file__).parents[1]
TRIALS = [
    Trial((0, 0), {"accuracy": 0.5, "soft": 0.3, "macs": 100.0}),
    Trial((0, 1), {"accuracy": 0.25, "soft": 0.4, "macs": 100.0}),
    Trial((1, 0), {"macs": 50.0}, error="out of memory"),
    Trial((1, 1), {"accuracy": 0.25, "soft": 0.35, "macs": 400.0}),
]


@pytest.fixture
def search(tmp_path: Path) -> Path:
    """The folder of a search by accuracy."""
    folder, measured = tmp_path / "search", Measurements(tmp_path / "measured" / "key.jsonl")
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(frozen(folder, make(), measured.path)))
    with open(folder / "trials.jsonl", "w") as file:
        for number, trial in enumerate(TRIALS):
            measured.append(trial)
            line = {"trial": number, "arch": trial.arch, "score": None, "seconds": 0.0}
            line |= {} if trial.error is None else {"error": trial.error}
            file.write(json.dumps(line) + "\n")
    return folder


def numbers(searched: Searched, score: Score) -> list[int]:
    return [row.number for row in rescored(searched, score)]


def test_a_ranking_puts_the_best_first_and_of_equals_the_cheapest() -> None:
    trials = [
        Trial((0,), {"accuracy": 0.5, "macs": 3.0}),
        Trial((1,), {"accuracy": 0.9, "macs": 3.0}),
        Trial((2,), {"accuracy": 0.9, "macs": 2.0}),
        Trial((3,), {"macs": 1.0}, error="failed"),
        Trial((4,), {"accuracy": 0.9, "macs": 2.0}),
        Trial((5,), {"soft": 1.0}),
    ]
    assert [row.number for row in ranked(trials, make("accuracy"))] == [2, 4, 1, 0]
    assert [row.score for row in ranked(trials, make("soft"))] == [1.0]


def test_a_search_is_ranked_by_any_score(search: Path) -> None:
    searched = read_search(search)
    assert numbers(searched, score_of(searched, None)) == [0, 1, 3]
    assert numbers(searched, score_of(searched, "soft")) == [1, 3, 0]
    assert numbers(searched, score_of(searched, "macs")) == [0, 1, 3], "less is better"
    prior = score_of(searched, "soft", 20.0)
    assert prior == make("soft", size_prior=20.0, median_macs=100.0)
    assert numbers(searched, prior) == [3, 1, 0]
    with pytest.raises(UserError, match="has what score f1 needs; measured are accuracy, soft, ma"):
        rescored(searched, score_of(searched, "f1"))


def test_a_prior_counts_from_the_median_that_the_search_noted(search: Path) -> None:
    config = search / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"median_macs": 250.0}))
    assert score_of(read_search(search), "soft", 5.0).settings["median_macs"] == 250.0
    own = make("accuracy", size_prior=5.0, median_macs=70.0)
    searched = Searched(search, TRIALS, own)
    assert score_of(searched, "soft", 5.0).settings["median_macs"] == 70.0
    assert score_of(searched, None, 0.0) == make("accuracy")
    with pytest.raises(UserError, match="no trial with them"):
        score_of(Searched(search, [Trial((0, 0), {"soft": 0.1})], PLAIN), "soft", 5.0)


def test_a_ranking_that_is_kept_is_found_by_its_name(search: Path) -> None:
    searched = read_search(search)
    score = score_of(searched, "soft", 20.0)
    path = keep(searched, score, rescored(searched, score))
    assert path == ranking_file(search, "soft-size-prior-20") and slug(score) in path.name
    content = json.loads(path.read_text())
    assert content["trials"] == 4
    assert [row["trial"] for row in content["ranking"]] == [3, 1, 0]
    assert content["ranking"][0]["arch"] == [1, 1]
    assert score_of(searched, "soft-size-prior-20") == score
    assert read_search(search).trials == searched.trials, "the log is as it was"
    assert not list(search.glob(".*"))


def test_a_learned_score_comes_from_a_file(search: Path, tmp_path: Path) -> None:
    settings = {"intercept": 0.0, "measurements": {"accuracy": 1.0}, "logs": {"macs": 1.0}}
    file = tmp_path / "score.json"
    file.write_text(json.dumps(make("learned", settings=settings).to_data()))
    searched = read_search(search)
    score = score_of(searched, str(file))
    assert numbers(searched, score) == [3, 0, 1]
    keep(searched, score, rescored(searched, score))
    assert score_of(searched, "learned") == score


@pytest.mark.parametrize("name", ["../soft", "soft score", ""])
def test_a_name_of_no_score_is_refused(search: Path, name: str) -> None:
    with pytest.raises(UserError, match="it is a name such as soft"):
        score_of(read_search(search), name)


# -- the command ---------------------------------------------------------------------------------


def test_the_command_prints_a_ranking_without_torch(search: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'torchvision', 'timm', 'supernet'): sys.modules[name] = None\n"
        "import runpy; sys.argv = ['lanas.rank', *sys.argv[1:]]\n"
        "runpy.run_module('lanas.rank', run_name='__main__')\n"
    )
    command = [sys.executable, "-c", code, str(search), "--score", "soft", "--size-prior", "20"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    said, head, *rows = done.stdout.splitlines()
    assert said == "3 of 4 trials have score soft, size prior 20 %, counted from 100 MACs"
    assert head.split() == ["trial", "score", "accuracy", "soft", "macs", "architecture"]
    assert [row.split()[0] for row in rows] == ["3", "1", "0"]
    assert rows[0].split() == ["3", "0.584", "0.25", "0.35", "400", "1-1"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["nowhere"], "nowhere does not exist"),
        (["search", "--score", "f1"], "no trial of"),
        (["search", "--size-prior", "100"], "size_prior 100.0"),
        (["search", "--score", "missing.json"], "missing.json cannot be read"),
        (["empty"], "has no trials"),
    ],
)
def test_the_command_refuses_in_one_line(
    search: Path,
    argv: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(search.parent)
    (search.parent / "empty").mkdir()
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and message in err
