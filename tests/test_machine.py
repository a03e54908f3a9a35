"""What the machine does to a script: each is one line of help, or changes nothing."""

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from supernet import progress
from supernet.cli import machine
from supernet.data.files import _Decode
from tests.scripts import TINY, answer

ROOT = Path(__file__).parents[1]
LIGHT = "import os, sys, time\nfrom supernet.cli.main import main\n"


def light(body: str, before: str = "", **environment: str) -> "subprocess.Popen[str]":
    """A script, without torch, whose `main` runs `body`; `before` is what the shell adds to it."""
    code = f"{LIGHT}def body():\n    {body}\nmain(body)\n"
    command = ["bash", "-c", f'"$0" -c "$1" {before}', sys.executable, code]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# -- what others left in the environment ----------------------------------------------------------

SLURM = {"JOB_NAME": "job", "JOB_ID": "7", "PROCID": "1", "LOCALID": "1", "NODEID": "0"}


@pytest.mark.parametrize(
    "left",
    [
        {"LOCAL_RANK": "1"},
        {"RANK": "1", "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "x", "LOCAL_RANK": "1"},
        {"SLURM_NTASKS": "2", **{f"SLURM_{name}": value for name, value in SLURM.items()}},
        {"PL_TRAINER_MAX_EPOCHS": "1", "PL_TRAINER_FAST_DEV_RUN": "1"},
    ],
    ids=["a rank", "torchrun", "slurm", "lightning"],
)
def test_what_another_launcher_left_changes_nothing(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: dict[str, str]
) -> None:
    """Neither do checkpoints that Lightning keeps for jobs, where the command is typed or ours."""
    for name, value in left.items():
        monkeypatch.setenv(name, value)
    run = tmp_path / "run"
    (run / "supernet").mkdir(parents=True)
    for place in (tmp_path, run / "supernet"):
        shutil.copy(trained / "supernet" / "last.ckpt", place / "hpc_ckpt_1.ckpt")
    monkeypatch.chdir(tmp_path)
    done = answer("train_supernet", run, *TINY)
    assert done.status == 0, done.err
    weights = (trained / "supernet" / "model.safetensors").read_bytes()
    assert (run / "supernet" / "model.safetensors").read_bytes() == weights
    log = (run / "supernet" / "log" / "version_0" / "metrics.csv").read_text()
    assert len(log.splitlines()) == 4, "a line for each of three epochs was not written"
    assert all(os.environ[name] == value for name, value in left.items()), "they are the user's"


# -- processes that the system ends ---------------------------------------------------------------


def photos(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for part in ("train", "val"):
        for name in ("cat", "dog"):
            (folder / part / name).mkdir(parents=True)
            for i in range(8):
                pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{i}.png")
    return folder


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGBUS])
def test_a_killed_worker_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sign: signal.Signals
) -> None:
    """SIGBUS is what a full /dev/shm ends it by, SIGKILL too little memory."""
    own = os.getpid()

    def dies(self: _Decode, index: int) -> Any:
        assert os.getpid() != own
        os.kill(os.getpid(), sign)

    monkeypatch.setattr(_Decode, "__getitem__", dies)
    flags = ("--data", photos(tmp_path / "set"), "--image-size", 16, "--batch-size", 8)
    done = answer("train_supernet", tmp_path / "run", *TINY, *flags, "--workers", 1)
    assert done.status == 2
    (line,) = done.err.splitlines()
    for words in ("a process that reads images was ended", "--workers 0", "--shm-size"):
        assert words in line
    assert not (tmp_path / "run" / "supernet" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("script", "error", "says"),
    [
        ("train_supernet.py", MemoryError(), ("out of memory", "--batch-size", "--width")),
        ("search.py", RuntimeError("can't allocate memory: 9"), ("9", "--calibration-images")),
        ("lanas-retrain", RuntimeError("CUDA out of memory"), ("--accumulate",)),
        ("search.py", RuntimeError("x: Too many open files (24)"), ("ulimit -n",)),
        ("search.py", RuntimeError("can't start new thread"), ("--threads",)),
    ],
)
def test_what_runs_out_is_one_line_with_the_flags_of_the_script(
    monkeypatch: pytest.MonkeyPatch, script: str, error: Exception, says: tuple[str, ...]
) -> None:
    monkeypatch.setattr(sys, "argv", [f"/somewhere/{script}"])
    line = machine.fault(error)
    assert line is not None
    assert all(words in line for words in says), line


def test_an_error_of_ours_stays_a_traceback() -> None:
    assert machine.fault(RuntimeError("shapes differ")) is None


# -- outputs --------------------------------------------------------------------------------------


def test_a_closed_output_is_no_file_of_the_run(tmp_path: Path) -> None:
    """Trap: what is opened next takes its number, and whatever is printed to it."""
    file = tmp_path / "weights"
    body = f"f = open({str(file)!r}, 'wb'); print('said'); os.write(2, b'by C'); f.write(b'mine')"
    process = light(body, before="<&- >&- 2>&-")
    assert process.communicate() == ("", "")
    assert (process.returncode, file.read_bytes()) == (0, b"mine")


@pytest.mark.parametrize("flush", [False, True], ids=["by the buffer", "line by line"])
def test_a_reader_that_has_gone_ends_the_script_without_a_word(flush: bool) -> None:
    """As `| head`; by the status of a program that SIGPIPE ends.

    Trap: a line that was flushed in vain stays in the buffer, and is written again at the exit.
    """
    body = f"[print(i, flush={flush}) for i in range(10**6)]"
    process = light(body, before="| head -1; exit $PIPESTATUS")
    out, err = process.communicate()
    assert (out, err, process.returncode) == ("0\n", "", 141)


def test_a_pipe_of_another_kind_that_breaks_is_said() -> None:
    process = light("raise BrokenPipeError('to the worker')")
    assert process.communicate() == ("", "-c: error: to the worker\n")
    assert process.returncode == 2


def test_letters_that_a_terminal_does_not_have(tmp_path: Path) -> None:
    process = light("print('fotos/Käse')", PYTHONIOENCODING="ascii", LC_ALL="C")
    out, err = process.communicate()
    assert (out, err, process.returncode) == ("fotos/K\\xe4se\n", "", 0)


@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.skipif(shutil.which("script") is None, reason="makes a terminal by `script`")
def test_a_narrow_terminal_keeps_the_time_left(width: int) -> None:
    """The line of progress is not wider than the terminal, and shows how long it will take."""
    body = (
        "from supernet.progress import Progress\n"
        "    p = Progress('epoch', 60, 3)\n"
        "    with p:\n"
        "        p.start -= 1e4; p.update(12.5, 'loss 0.213')\n"
    )
    code = f"{LIGHT}def body():\n    {body}main(body)\n"
    command = f'stty cols {width}; {sys.executable} -c "$CODE"'
    done = subprocess.run(
        ["script", "-qec", command, "/dev/null"],
        cwd=ROOT,
        env=os.environ | {"CODE": code, "TERM": "xterm"},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", done.stdout).replace("\r", "\n").splitlines()
    shown = [line.rstrip() for line in shown if line.strip()]
    assert done.returncode == 0 and shown, done
    assert all(len(line) <= width for line in shown), shown
    assert "12.5/60" in shown[-1] and "13 h 53 min left" in shown[-1], shown


# -- the time left --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (119.4, "119 s"), (120, "2 min"), (7199, "2 h 0 min"), (12000, "3 h 20 min"),
     (187200, "2 d 4 h")],
)  # fmt: skip
def test_a_duration_in_words(seconds: float, words: str) -> None:
    assert progress.duration(seconds) == words


def test_the_time_left_is_that_of_all_that_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of what a run that goes on had before, no time is known; ten seconds lie between lines."""
    clock = [100.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    with progress.Progress("epoch", 60, 10) as line:
        for seconds, done in ((5, 10.5), (15, 12.5), (16, 13), (30, 20)):
            clock[0] = 100.0 + seconds
            line.update(done, "loss 0.5" if done == 20 else None)
    assert capsys.readouterr().out.splitlines() == [
        "epoch 12.5/60, 5 min left",
        "epoch 20/60, loss 0.5, 2 min left",
    ]


def test_a_training_says_within_an_epoch_how_long_all_will_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.0)
    done = answer("train_supernet", tmp_path / "run", *TINY)
    said = [line for line in done.out.splitlines() if line.startswith("epoch ")]
    assert all(line.endswith(" left") for line in said)
    counts = [float(line.split()[1].split("/")[0]) for line in said]
    assert counts == sorted(counts) and counts[0] < 1 and counts[-1] == 3
    assert any(", loss " in line for line in said)


# -- python -OO -----------------------------------------------------------------------------------


@pytest.mark.parametrize("script", ["train_supernet", "search", "retrain"])
def test_a_script_works_without_docstrings_and_asserts(script: str) -> None:
    command = [sys.executable, "-OO", ROOT / f"{script}.py", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--estimate" in done.stdout


def test_an_assert_only_tells_a_type() -> None:
    """What must hold at run time is an error that is raised: `python -O` leaves asserts out."""
    for path in [*(ROOT / "lanas").rglob("*.py"), *(ROOT / "supernet").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Assert):
                parts = ast.unparse(node.test).split(" and ")
                told = [" is not None" in part or "isinstance(" in part for part in parts]
                assert all(told), f"{path} line {node.lineno}"


# -- Ctrl-C ---------------------------------------------------------------------------------------


def test_a_second_interrupt_ends_at_once(tmp_path: Path) -> None:
    """With one line, where what the first one asked for takes long."""
    seen = tmp_path / "seen"
    body = (
        f"try:\n        open({str(seen)!r}, 'w').close(); time.sleep(60)\n"
        f"    finally:\n        open({str(seen)!r} + '2', 'w').close(); time.sleep(60)"
    )
    process = light(body)
    for file in (seen, Path(f"{seen}2")):
        while not file.exists() and process.poll() is None:
            time.sleep(0.01)
        process.terminate()
    _, err = process.communicate()
    assert process.returncode == 130
    assert err.splitlines() == ["", "-c: stopped at once; the same command goes on from here"]


def test_a_table_keeps_its_numbers_in_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """80 columns suffice; in 40 it is wider than the terminal, and no number is cut."""
    from lanas.rank import Row
    from lanas.scores import make
    from lanas.trials import Trial
    from supernet.report.tables import ranking_table, show

    measured = {"accuracy": 0.98765, "soft": 0.87654, "loss": 1.23456, "macs": 123.456e6}
    measured |= {"params": 234.567e3, "memory": 2.0**22, "latency": 0.1234}
    measured |= {"measured_latency": 0.1238}
    rows = [Row(100, Trial((1, 2, 0, 4, 3, 2) * 4, measured), 0.98765)]
    for width in (40, 80):
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
        show(ranking_table(rows, make("accuracy"), 120))
        lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
        assert all(len(line) <= 80 for line in lines), lines
        for words in ("98.77", "87.65", "1.235", "123.456", "234.567", "4.000", "0.123", "100"):
            assert any(words in line for line in lines), (width, words, lines)
        assert not any("…" in line for line in lines)
