"""A run folder from a stranger: nothing outside of it is written, followed or removed."""

import io
import os
import re
import shutil
from pathlib import Path

import pytest
import torch
from rich.console import Console

import supernet
from lanas import LaNAS
from lanas.errors import UserError, line_of, plain, short
from lanas.files import read_object, refuse_links_out, replace_file
from lanas.space import Choice, Space
from lanas.trials import Trial
from supernet.report.tables import result_table
from supernet.run import Run, lock, write_json
from supernet.training.runner import AtomicCheckpoints, LastCheckpoint
from tests.scripts import RETRAIN, SEARCH, TINY, answer, refused, tree

ROOT = Path(__file__).parents[1]

# -- links ---------------------------------------------------------------------------------------


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder of the user's beside the run, with a file that is dear to them."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "thesis").write_text("precious")
    return folder


LINKS = (
    ("search", ".tree.json.aside", "thesis"),
    ("search", "search/dear.jsonl", "thesis"),
    ("search", "search/second", "."),
    ("search", "history.jsonl", "thesis"),
    ("search", "measured/errors", "."),
    ("retrain", "retrain", "."),
    ("retrain", "supernet/log/more", "not/there/yet"),
    ("train_supernet", "supernet/last.ckpt", "thesis"),
    ("train_supernet", ".lock", "lock"),
)


@pytest.mark.parametrize(("script", "name", "to"), LINKS)
def test_a_link_that_leads_out_is_refused(
    run: Path, outside: Path, script: str, name: str, to: str
) -> None:
    """Of a file or a folder, there or not: by name, before anything is done."""
    link = run / name
    link.unlink(missing_ok=True)
    link.symlink_to(outside / to)
    flags = TINY if script == "train_supernet" else ("--threads", 1)
    before = tree(outside)
    refused(script, run, *flags, says=(str(link), "leads out of"), untouched=run)
    assert tree(outside) == before
    with pytest.raises(UserError, match="leads out of"):
        supernet.rescore(run, "accuracy")


def test_links_within_a_run_and_to_it_are_taken(run: Path, tmp_path: Path) -> None:
    (run / "search").rename(run / "searches")
    (run / "search").symlink_to("searches")
    (tmp_path / "short").symlink_to(run)
    assert answer("search", tmp_path / "short", *SEARCH).status == 0
    assert len((run / "searches" / "trials.jsonl").read_text().splitlines()) == 12


def test_a_network_of_a_stranger_is_not_read_through_a_link(
    retrained: Path, tmp_path: Path, outside: Path
) -> None:
    (folder,) = (retrained / "retrain").iterdir()
    copy = shutil.copytree(folder, tmp_path / "network")
    supernet.load(copy)
    (copy / "more.json").symlink_to(outside / "thesis")
    with pytest.raises(UserError, match=r"more\.json is a link that leads out of"):
        supernet.load(copy)


def test_a_link_under_the_name_of_what_is_written_aside_is_not_followed(tmp_path: Path) -> None:
    dear, path = tmp_path / "dear", tmp_path / "file.json"
    dear.write_text("precious")
    for link in (path, tmp_path / ".file.json.aside"):
        link.symlink_to(dear)
        replace_file(path, b"new")
        assert path.read_bytes() == b"new" and not path.is_symlink()
        assert dear.read_text() == "precious"
        path.unlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dear"]


# -- a checkpoint --------------------------------------------------------------------------------


def test_no_path_out_of_a_checkpoint_is_taken(retrained: Path, tmp_path: Path) -> None:
    """Lightning removes the last checkpoint when it has written the next, wherever that was."""
    victim = tmp_path / "home"
    victim.mkdir()
    run = shutil.copytree(retrained, tmp_path / "run")
    (arch,) = (run / "retrain").iterdir()
    (arch / "result.json").unlink()
    settings = read_object(arch / "settings.json") | {"epochs": 8}
    write_json(arch / "settings.json", settings)
    state = torch.load(arch / "last.ckpt", weights_only=True)
    assert state["callbacks"], "nothing to change: this test guards nothing"
    for callback in state["callbacks"].values():
        for name in ("best_model_path", "last_model_path"):
            callback[name] = f"local://{victim}"
    torch.save(state, arch / "last.ckpt")
    done = answer("retrain", run, *RETRAIN, "--epochs", 8)
    assert done.status == 0, done.err
    assert victim.is_dir()
    AtomicCheckpoints().remove_checkpoint(victim)
    assert victim.is_dir() and "load_state_dict" in vars(LastCheckpoint)


# -- a folder that moves -------------------------------------------------------------------------


def test_nothing_is_written_where_a_folder_was(tmp_path: Path) -> None:
    """Of a folder that this process holds; a new one under the old name is not it."""
    run = Run(tmp_path / "run", {})
    with lock(run.path):
        write_json(run.costs_file, {})
        run.path.rename(tmp_path / "moved")
        for _ in range(2):
            with pytest.raises(UserError, match="was moved away or removed"):
                write_json(run.search().tree, {})
            assert not run.search().path.exists()
            run.path.mkdir(exist_ok=True)
    write_json(run.search().tree, {})  # it is held no longer


# -- what is shown -------------------------------------------------------------------------------


def test_what_is_shown_is_seen() -> None:
    assert plain("a\x1b[2J\nb\r \u202eé日\udce9 [red]") == r"a\x1b[2J\nb\r \u202eé日\udce9 [red]"
    assert line_of(UserError("one\ntwo\x07")) == r"one two\x07"
    assert len(line_of("x" * 10**6)) < 2100
    for value in ([[[[[[]]]]]] * 10**5, "x" * 10**6, {"a": 10**5000}, {1: [2] * 10**6}):
        assert len(short(value)) <= 61


def test_an_error_with_control_bytes_is_one_line(run: Path) -> None:
    done = answer("search", run, "--search-space\x1b[31m", "x")
    assert done.status == 2 and "\x1b" not in done.err and r"\x1b[31m" in done.err


# -- locks ---------------------------------------------------------------------------------------


def test_no_module_imports_what_only_unix_has() -> None:
    for path in [*(ROOT / "lanas").rglob("*.py"), *(ROOT / "supernet").rglob("*.py")]:
        assert not re.search(r"^import (fcntl|resource|pwd)\b", path.read_text(), re.M), path
        assert not re.search(r"\bos\.(pread|pwrite|fork)\b", path.read_text()), path


def test_a_lock_that_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".lock")
    with pytest.raises(UserError, match="no lock; remove it"), lock(tmp_path):
        pass


def test_a_tree_of_files_has_no_links(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    refuse_links_out(tmp_path)
    (tmp_path / "a" / "b" / "up").symlink_to("../..")
    refuse_links_out(tmp_path)
    with pytest.raises(UserError, match="leads out"):
        refuse_links_out(tmp_path / "a")


# -- names with markup ---------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["mb[e6]", "x[/b]", "a:x:b", "[red]", "two\nlines", "\x1b[31m"])
def test_an_option_is_shown_as_it_is_called(option: str) -> None:
    """In the table of a search, in the terminal's own width."""
    space = Space("[b]mine", (Choice("a", (option, "skip")), Choice("b[/]", ("p", "q"))))
    optimiser = LaNAS(space, seed=0)
    trials = [Trial((0, 0), {"score": 0.9, "[i]": 1.0}), Trial((1, 1), {"score": 0.5})]
    optimiser.tell(trials)
    out = io.StringIO()
    Console(file=out, width=110).print(result_table(optimiser, trials))
    for name in (option, "b[/]", "[i]"):
        assert plain(name) in out.getvalue()
    assert "\x1b" not in out.getvalue()
