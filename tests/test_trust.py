"""Code that a folder names runs where this user has named it before, or by --trust."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

import supernet
from lanas import rank, scores, trust
from lanas.errors import UserError
from supernet import process
from supernet.api import trusted
from supernet.cli.settings import TrainSettings
from supernet.run import lock, write_json
from tests import own
from tests.scripts import RETRAIN, SEARCH, answer, refused

MARK = "code-ran"
EVIL = f"\nimport pathlib\npathlib.Path(__file__).parents[0].joinpath({MARK!r}).write_text('')\n"


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user who has named no code yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def another_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "other"))


def ran(tmp_path: Path) -> list[Path]:
    return list(tmp_path.rglob(MARK))


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A run of a space of the user's own, whose file is gone since."""
    file = own.write(tmp_path)
    assert answer("train_supernet", tmp_path / "run", "--space", file, *own.TINY).status == 0
    file.unlink()
    return tmp_path / "run"


# -- spaces --------------------------------------------------------------------------------------


def test_what_this_user_trained_runs_as_ever_and_not_as_another(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the folder was moved; another user is told what would run, and may say --trust."""
    run = Path(shutil.move(mine, tmp_path / "moved"))
    assert answer("search", run, *own.SEARCH).status == 0
    done = answer("retrain", run, *RETRAIN, "--epochs", 1, "--batch-size", 128)
    assert (done.status, done.err) == (0, "")
    (network,) = (run / "retrain").iterdir()
    supernet.load(network)
    another_user(monkeypatch, tmp_path)
    says = (str(run / "space.py"), "SHA-256", "--trust", "no list of yours")
    for script in ("search", "retrain"):
        refused(script, run, says=says, untouched=run)
    for folder in (network, Path(shutil.copytree(network, tmp_path / "network"))):
        with pytest.raises(UserError, match=r"names code as its space.*trust=True"):
            supernet.load(folder)
        supernet.load(folder, trust=True)
    assert answer("search", run, *own.SEARCH, "--trials", 6, "--trust").status == 0
    refused("search", run, says=("--trust",), untouched=run)  # it is asked for each time
    done = answer("train_supernet", tmp_path / "new", "--teacher", network, "--epochs", 1,
                  "--width", 4, "--depth", 1, "--threads", 1)  # fmt: skip
    assert done.status == 2 and "--trust" in done.err


def test_code_that_was_changed_in_the_folder_is_not_known(mine: Path, tmp_path: Path) -> None:
    copy = mine / "space.py"
    copy.write_text(copy.read_text() + EVIL)
    for script in ("search", "retrain"):
        refused(script, mine, says=(str(copy), "--trust"), untouched=mine)
    assert not ran(tmp_path)
    assert answer("search", mine, *own.SEARCH, "--trust").status == 0
    assert ran(tmp_path), "the change does nothing: this test guards nothing"


def test_no_package_of_a_named_module_is_imported(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To find a module within a package Python runs the package."""
    package = tmp_path / "received"
    package.mkdir()
    (package / "__init__.py").write_text(EVIL)
    own.write(package)
    monkeypatch.chdir(tmp_path)
    config = json.loads((run / "config.json").read_text())
    config["network"]["family"] = "received.tiny"
    write_json(run / "config.json", config)
    for script in ("search", "retrain"):
        refused(script, run, says=("module 'received.tiny'", "--trust"), untouched=run)
    assert not ran(tmp_path) and "received" not in sys.modules


# -- other parts ---------------------------------------------------------------------------------

PLACES: dict[str, tuple[str, str, Any]] = {
    "task": ("search", "config.json", lambda name: {"task": name}),
    "optimiser": ("search", "defaults.json", lambda name: {"search": {"optimiser": name}}),
    "optimizer": ("search", "defaults.json", lambda name: {"search": {"optimizer": name}}),
    "score": ("search", "defaults.json", lambda name: {"search": {"score": name}}),
    "opt": ("retrain", "defaults.json", lambda name: {"retrain": {"opt": name}}),
    "score of a search": (
        "retrain",
        "search/config.json",
        lambda name: {"score": {"name": name, "formula": name, "version": 1, "settings": {}}},
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_code_that_is_named_anywhere_does_not_run(run: Path, tmp_path: Path, place: str) -> None:
    script, file, content = PLACES[place]
    evil = run / "evil.py"
    evil.write_text(EVIL)
    before = json.loads((run / file).read_text())
    write_json(run / file, before | content(f"{evil}:Thing"))
    refused(script, run, says=(str(evil), "--trust"), untouched=run)
    assert not ran(tmp_path)
    answer(script, run, "--trust")
    assert ran(tmp_path), "it is not run with --trust either: this test guards nothing"


def test_a_ranking_may_name_code(run: Path, tmp_path: Path) -> None:
    evil = run / "evil.py"
    evil.write_text(EVIL + "\ndef mine(measured):\n    return measured['soft']\n")
    score = {"name": f"{evil}:mine", "formula": f"{evil}:mine", "version": 1, "settings": {}}
    write_json(run / "search" / "ranking-mine.json", {"score": score})
    refused("retrain", run, "--score", "mine", says=("--trust",), untouched=run)
    for command in ([str(run / "search"), "--score", "mine"], ["--score", str(run / "score.json")]):
        write_json(run / "score.json", score)
        assert rank.main([str(run / "search"), *command[-2:]]) == 2
    assert not ran(tmp_path)


def test_trust_is_said_on_the_command_line_alone(run: Path, tmp_path: Path) -> None:
    write_json(run / "defaults.json", {"search": {"trust": True}, "retrain": {"trust": True}})
    for script in ("search", "retrain"):
        refused(script, run, says=("trust: a recipe has none",), untouched=run)
    recipe = tmp_path / "recipe.yaml"
    for text in ("trust: true\n", "search: {trust: true}\n"):
        recipe.write_text(text)
        done = answer("train_supernet", tmp_path / "new", "--config", recipe)
        assert done.status == 2 and "trust: a recipe has none" in done.err


# -- copies --------------------------------------------------------------------------------------

FRUGAL = "def frugal(measured):\n    return measured['soft'] - measured['macs'] / 1e9\n"
GREEDY = (
    "from lanas import Optimiser\n\n\nclass Greedy(Optimiser):\n    def guide(self, rng):\n"
    "        return lambda taken: None\n"
)


def test_a_moved_search_goes_on_from_the_copies(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files lie elsewhere or are gone: the same content is the same code, and no other is."""
    for name, text in (("my_search.py", GREEDY), ("my_score.py", FRUGAL)):
        (tmp_path / name).write_text(text)
    flags = (*SEARCH, "--trials", 5, "--tag", "mine")
    parts = ("--optimiser", "my_search.py:Greedy", "--score", "my_score.py:frugal")
    monkeypatch.chdir(tmp_path)
    assert answer("search", run, *flags, *parts).status == 0
    folder = run / "search" / "mine"
    assert (folder / "optimiser.py").read_text() == GREEDY
    assert (folder / "score.py").read_text() == FRUGAL
    for name in ("my_search.py", "my_score.py"):
        (tmp_path / name).unlink()
    moved = Path(shutil.move(run, tmp_path / "moved"))
    folder = moved / "search" / "mine"
    copies = ("--optimiser", f"{folder / 'optimiser.py'}:Greedy",
              "--score", f"{folder / 'score.py'}:frugal")  # fmt: skip
    done = answer("search", moved, *flags, *copies, "--trials", 7)
    assert (done.status, done.err) == (0, "")
    assert supernet.select(moved, search_tag="mine"), "the score is that of the copy"
    (tmp_path / "my_search.py").write_text(GREEDY + "\n")
    done = answer("search", moved, *flags, *parts[:2], *copies[2:], "--trials", 8)
    assert done.status == 2 and "has changed since this search was begun" in done.err
    another_user(monkeypatch, tmp_path)
    with pytest.raises(UserError, match="names code as its score"):
        supernet.select(moved, search_tag="mine")


def test_a_ranking_by_code_that_has_changed_is_of_the_code_of_today(
    run: Path, tmp_path: Path
) -> None:
    """Retraining takes it without --trust: the command that ranked has named the code."""
    file = tmp_path / "my_score.py"
    for text in (FRUGAL, FRUGAL.replace("1e9", "1e6")):
        file.write_text(text)
        scores._own.cache_clear()  # as in another process
        assert answer("search", run, "--rescore", f"{file}:frugal").status == 0
        scores._own.cache_clear()
        assert supernet.select(run, score="frugal")
        assert (run / "search" / "ranking-frugal.py").read_text() == text


def test_the_same_code_elsewhere_goes_on_with_a_training(tmp_path: Path) -> None:
    run, there = tmp_path / "run", tmp_path / "there"
    there.mkdir()
    first, again = own.write(tmp_path), own.write(there)
    assert answer("train_supernet", run, "--space", first, *own.TINY).status == 0
    first.unlink()
    done = answer("train_supernet", run, "--space", again, *own.TINY)
    assert (done.status, done.err) == (0, "") and "already trained" in done.out
    again.write_text(again.read_text() + "\n")
    refused("train_supernet", run, "--space", again, *own.TINY, says=("space",), untouched=run)


def test_of_several_processes_the_first_alone_keeps_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two at once would write the same file aside, and each take the other's away."""
    (tmp_path / "my_opt.py").write_text("class Mine: ...\n")
    name = f"{tmp_path / 'my_opt.py'}:Mine"
    run = tmp_path / "run"
    for number, kept in ((1, []), (0, ["opt.py", "retrain.opt.py"])):
        monkeypatch.setenv(process.RANK, str(number))
        trusted.keep(TrainSettings(opt=name), run)
        trusted.keep_defaults({"retrain": {"opt": name}}, run)
        assert sorted(path.name for path in run.glob("*")) == kept


def test_no_copy_is_kept_where_a_folder_was(tmp_path: Path) -> None:
    (tmp_path / "my_opt.py").write_text("class Mine: ...\n")
    run = tmp_path / "run"
    with lock(run):
        run.rename(tmp_path / "moved")
        with pytest.raises(UserError, match="was moved away or removed"):
            trusted.keep(TrainSettings(opt=f"{tmp_path / 'my_opt.py'}:Mine"), run)
    assert not run.exists()


# -- the user's list -----------------------------------------------------------------------------


def test_where_no_list_can_be_kept_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    file, run = own.write(tmp_path), tmp_path / "run"
    done = answer("train_supernet", run, "--space", file, *own.TINY)
    assert done.status == 0 and "cannot be noted as yours" in done.out
    refused("search", run, says=("--trust",), untouched=run)
    assert answer("search", run, *own.SEARCH, "--trust").status == 0


def test_a_torn_list_forgets_a_line_alone(tmp_path: Path) -> None:
    codes = [trust.Code("space", str(own.write(tmp_path, name=name))) for name in ("a.py", "b.py")]
    for code in codes:
        assert trust.remember(code) is None
    lines = trust.list_file().read_text().splitlines()
    assert len(lines) == 2 and trust.remember(codes[0]) is None
    trust.list_file().write_text(f"{lines[0][:9]}\n[]\n{lines[1]}\n")
    with pytest.raises(UserError, match="--trust"):
        trust.require(codes[0], tmp_path, False)
    trust.require(codes[1], tmp_path, False)
