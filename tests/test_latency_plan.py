"""Networks planned here, timed elsewhere by a script that needs onnxruntime and numpy alone."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import supernet
from lanas.errors import UserError
from supernet.api.planning import plan
from supernet.score.latency import files
from tests.scripts import answer

SITE = str(Path(__import__("numpy").__file__).parents[1])


def device(folder: Path, *argv: str) -> "subprocess.Popen[str]":
    """The script as it runs on a device: without this project and without torch."""
    code = (
        f"import sys; sys.path.append({SITE!r})\n"
        "for name in ('torch', 'onnx', 'supernet', 'lanas', 'scipy'): sys.modules[name] = None\n"
        f"sys.argv = ['time_networks.py', *{list(argv)!r}]\n"
        "import runpy; runpy.run_path('time_networks.py', run_name='__main__')\n"
    )
    return subprocess.Popen(
        [sys.executable, "-I", "-c", code],
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "times.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def planned(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan of 40 networks; only to be copied."""
    return plan(trained, tmp_path_factory.mktemp("plan") / "dir", archs=40)


def test_a_plan_is_timed_elsewhere_killed_and_gone_on_with_and_read_here(
    planned: Path, run: Path, tmp_path: Path
) -> None:
    there = Path(shutil.copytree(planned, tmp_path / "device"))
    assert sum(path.stat().st_size for path in there.glob("*.onnx")) < 4e6
    process = device(there)
    table = there / "times.csv"
    while process.poll() is None and not (table.exists() and table.stat().st_size > 3000):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = table.read_bytes()
    table.write_bytes(before[:-20])  # as a kill in the middle of a line leaves it
    whole = before[:-20].count(b"\n")
    done = device(there)
    out = done.communicate()[0]
    assert done.returncode == 0, out
    assert "times.csv: 120 timings of 40 networks" in out
    assert table.read_bytes().startswith(b"".join(before.splitlines(keepends=True)[:whole]))
    found = rows(there)
    assert len({(row["file"], row["round"]) for row in found}) == len(found) == 120
    assert device(there).communicate()[0].count("timing") == 1  # nothing is left to be done

    shutil.rmtree(run / "search")
    settings = ("--trials", 3, "--threads", 1, "--max-latency", "9 s", "--latency-table", table)
    searched = answer("search", run, *settings, "--inexact-budget")
    assert searched.status == 0, searched.err
    assert f"by {found[0]['engine']} on {found[0]['device']}, 1 thread, batch 1" in searched.out
    said = answer("search", run, *settings, "--tag", "two", "--latency-batch", 8)
    assert said.status == 2 and "was timed with batch 1; give --latency-batch 1" in said.err
    said = answer("search", run, *settings, "--tag", "two", "--latency-engine", "onnxruntime")
    assert said.status == 2 and "--latency-table was measured: give one" in said.err


def test_a_table_of_a_wider_network_is_refused(planned: Path, tmp_path: Path) -> None:
    wide = supernet.train(tmp_path / "wide", width=6, depth=1, epochs=1, threads=1)
    there = Path(shutil.copytree(planned, tmp_path / "device"))
    files = json.loads((there / "plan.json").read_text())["files"][:2]
    kept = json.loads((there / "plan.json").read_text()) | {"files": files}
    (there / "plan.json").write_text(json.dumps(kept))
    assert device(there, "--rounds", "1").wait() == 0
    with pytest.raises(UserError, match="of another space, or of another width, depth or size"):
        supernet.search(wide, max_latency=9, latency_table=str(there / "times.csv"), threads=1)


def test_one_device_does_not_go_on_with_the_file_of_another(planned: Path, tmp_path: Path) -> None:
    there = Path(shutil.copytree(planned, tmp_path / "device"))
    assert device(there, "--rounds", "1").wait() == 0
    out = device(there, "--threads", "2").communicate()[0]
    assert "holds timings of threads '1', these are of '2'; give another file by --out" in out
    out = device(there, "--provider", "NoExecutionProvider", "--out", "no.csv").communicate()[0]
    assert "this onnxruntime has no NoExecutionProvider; it has" in out


def test_a_plan_goes_on_and_refuses_what_cannot_be(trained: Path, planned: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in planned.glob("*.onnx")}
    plan(trained, planned, archs=41)
    after = {path: path.stat().st_mtime_ns for path in planned.glob("*.onnx")}
    assert len(after) == 41 and {path: after[path] for path in before} == before
    with pytest.raises(UserError, match="holds a plan of another run or batch"):
        plan(trained, planned, archs=40, batch=2)
    with pytest.raises(UserError, match="--archs 12: space"):
        plan(trained, planned, archs=12)


def test_the_best_of_a_search_are_planned(trained: Path, tmp_path: Path) -> None:
    out = plan(trained, tmp_path / "best", search_tag="", best=2)
    files = json.loads((out / "plan.json").read_text())["files"]
    best = supernet.select(trained, "top:2")
    assert files == ["-".join(map(str, arch)) + ".onnx" for arch in best]


def test_flags_that_a_plan_would_not_read_are_refused(trained: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"best": 2}, "--best 2 is of a search"),
        ({"search_tag": "", "archs": 40}, "--archs 40 is not of a search"),
        ({"search_tag": "", "best": 999}, "--best 999: .* has 12 trials with a score"),
        ({"search_tag": "../x"}, "--search-tag '../x'"),
        ({"out": ""}, "--out ''"),
        ({"out": file}, "--out .*file': it is a folder"),
        ({"archs": 0}, "--archs 0: give 1 or more"),
    ]
    for settings, says in wrong:
        with pytest.raises(UserError, match=says):
            plan(trained, **{"out": tmp_path / "out", **settings})
    assert [path.name for path in tmp_path.iterdir()] == ["file"] and file.read_text() == "mine"


def test_files_of_a_plan_that_was_stopped_are_not_those_of_another(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same architecture, as a file of the same name, is another network in another run."""
    write = files.write

    def stopping(*args: Any) -> None:
        write(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(files, "write", stopping)
        plan(trained, tmp_path, archs=40)
    assert len(list(tmp_path.glob("*.onnx"))) == 1
    with pytest.raises(UserError, match="holds a plan of another run or batch"):
        plan(trained, tmp_path, archs=40, batch=2)
    plan(trained, tmp_path, archs=40)
    assert len(list(tmp_path.glob("*.onnx"))) == 40


def test_a_file_that_is_no_table_of_timings_is_left_as_it_is(planned: Path, tmp_path: Path) -> None:
    there = Path(shutil.copytree(planned, tmp_path / "device"))
    for name, content in (("notes.txt", b"a line\nno end"), ("one.txt", b"no end")):
        (tmp_path / name).write_bytes(content)
        process = device(there, "--out", str(tmp_path / name))
        out = process.communicate()[0]
        assert process.returncode == 2 and "is no table of timings" in out
        assert (tmp_path / name).read_bytes() == content
    process = device(there, "--rounds", "0")
    assert "--rounds 0: give 1 or more" in process.communicate()[0] and process.returncode == 2
    assert not (there / "times.csv").exists()
