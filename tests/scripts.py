"""The three scripts inside a test, or in a process of their own that a test may kill."""

import importlib
import io
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest.mock import patch

from torch import nn

from lanas.costs import Cost
from supernet.cli import main as cli
from supernet.export.formats import save_weights
from supernet.report import live
from supernet.run import write_json
from supernet.score import counted as cost

TINY = ("--width", 4, "--depth", 1, "--epochs", 3, "--threads", 1)  # a supernet in a second
TRIALS = 12
SEARCH = ("--threads", 1, "--trials", TRIALS, "--calibration-images", 256)
RETRAIN = ("--threads", 1, "--epochs", 6)


# -- inside the test -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What a script leaves its user with."""

    status: int
    out: str
    err: str


def answer(script: str, *argv: object, report: bool = False) -> Answer:
    """Run a script by its name without `.py`, in this process. report: whether it writes a page."""
    main = importlib.import_module(script).main
    out, err = io.StringIO(), io.StringIO()
    status: Any = 0
    with (
        patch.object(sys, "argv", [f"{script}.py", *map(str, argv)]),
        patch.object(cost, "of_supernet", costs_of),
        patch.object(live, "rank", lambda: int(not report)),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            cli.main(main)
        except SystemExit as stop:
            status = stop.code
    return Answer(status or 0, out.getvalue(), err.getvalue())


def weights_alone(
    net: nn.Module, folder: Path, config: Mapping[str, Any], *_: object
) -> dict[str, float]:
    """In place of `export.formats.export`, for tests that have nothing to do with its files.

    Its model.onnx gives back what it is given: there is one because its latency is measured.
    """
    from onnx import TensorProto, helper, save

    write_json(folder / "config.json", config)
    save_weights(net, folder / "model.safetensors")
    shape = ["n", *config["input"]]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], "same", *[[e] for e in ends]
    )
    opset = [helper.make_opsetid("", 18)]
    save(helper.make_model(graph, opset_imports=opset, ir_version=10), str(folder / "model.onnx"))
    return {}


def costs_of(net: nn.Module, shape: Sequence[int]) -> dict[str, Cost]:
    """What `cost.of_supernet` gives, measured once for each network."""
    key = (str(net), tuple(shape))
    if key not in _measured:
        _measured[key] = _measure(net, shape)
    return dict(_measured[key])


_measure = cost.of_supernet
_measured: dict[tuple[str, tuple[int, ...]], dict[str, Cost]] = {}


def tree(folder: Path) -> dict[str, tuple[int, bytes | None]]:
    """Everything in and below `folder` with its time of change and its content."""
    return {
        str(path): (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in [folder, *folder.rglob("*")]
    }


def refused(script: str, *argv: object, says: tuple[str, ...], untouched: Path) -> str:
    """The line with which a script refuses; it has every one of `says`."""
    before = tree(untouched)
    done = answer(script, *argv)
    assert done.status == 2, done
    lines = done.err.splitlines()
    assert len(lines) == 1, done.err
    assert lines[0].startswith(f"{script}.py: error: ")
    for words in says:
        assert words in lines[0], f"{words!r} is not in: {lines[0]}"
    assert tree(untouched) == before
    return lines[0]


# -- in a process of its own ---------------------------------------------------------------------

# Forked off a server that has done all slow imports and nothing else, so that a process is cheap.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        *(
            "train_supernet",
            "search",
            "retrain",
            "supernet.report.tables",
            "sklearn.datasets",
            "torch.onnx",
        ),
        "torch._dynamo",
        *(
            "supernet.training.loop",
            "supernet.score.inherited",
            "supernet.export.formats",
            "onnxruntime",
            "onnxscript",
        ),
    ]
)


def start(script: str, *argv: object, **faults: int) -> BaseProcess:
    """Start a script in a process; `said` gives what it prints. faults: see `_process`."""
    said = Path(str(argv[0]) + ".said")
    arguments = (script, [str(item) for item in argv], said)
    process = _context.Process(target=_process, args=arguments, kwargs=faults)
    process.start()
    return process


def said(run: Path) -> str:
    """What the last process on `run` printed."""
    return Path(f"{run}.said").read_text()


def _process(
    script: str, argv: list[str], said: Path, *, die_at: int = 0, file_limit: int = 0
) -> None:
    """die_at: SIGKILL just before the file so numbered takes its place. file_limit: bytes."""
    sys.stdout = sys.stderr = open(said, "w", buffering=1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell put us behind
    replace, left = os.replace, iter(range(die_at - 1, -1, -1))

    def dying(*args: Any, **kwargs: Any) -> None:
        if next(left, None) == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*args, **kwargs)

    os.replace = dying
    if file_limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, resource.RLIM_INFINITY))
    sys.argv = [f"{script}.py", *argv]
    live.rank = lambda: 1  # no page
    cli.main(importlib.import_module(script).main)


def finish(process: BaseProcess) -> int:
    """The exit status once it has ended."""
    process.join(300)
    assert process.exitcode is not None, "the script hangs"
    return process.exitcode


def stop_when(
    process: BaseProcess, ready: Callable[[], bool], delay: float, sign: int = signal.SIGKILL
) -> int:
    """Send a signal `delay` seconds after `ready` first holds; the exit status, -9 where killed."""
    while process.is_alive() and not ready():
        time.sleep(0.002)
    time.sleep(delay)
    if process.is_alive() and process.pid is not None:
        os.kill(process.pid, sign)
    return finish(process)
