"""The commands of docs/tutorial.md, in their order, on small photos that are made here."""

import io
import json
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image

from supernet import predict
from supernet.cli import main as cli
from supernet.score.latency import __main__ as latency
from tests.scripts import Answer, answer

PAGE = (Path(__file__).parents[1] / "docs" / "tutorial.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"```bash\n(.*?)```", PAGE, flags=re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
]
SMALLER = {  # what each command is given in the end, so that it takes a second or two
    "train_supernet.py": "--width 4 --image-size 16 --epochs 1",
    "supernet.score.latency": "--archs 30",
    "time_networks.py": "--rounds 1",
    "search.py": "--trials 3 --check-epochs 1 --inexact-budget --workers 0 --calibration-images 48",
    "retrain.py": "--epochs 1 --workers 0",
    "supernet.predict": "",
}


def photos(folder: Path) -> None:
    """Noise in three colours, a class a colour, of several sizes."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 30), ("val", 2)):
        for tint, name in enumerate(("cat", "frog", "ship")):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 120, (20 + i, 30, 3), dtype=np.uint8)
                pixels[:, :, tint] += 120
                Image.fromarray(pixels).save(folder / split / name / f"{i}.jpg")


def inside(main: "object", *words: str) -> Answer:
    """A command of the package, in this process."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    with (
        patch.object(sys, "argv", ["command", *words]),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            cli.main(main)  # type: ignore[arg-type]
        except SystemExit as stop:
            status = int(str(stop.code or 0))
    return Answer(status, out.getvalue(), err.getvalue())


def typed(command: str, where: Path) -> tuple[str, Answer]:
    """A line of the page in a shell that stands in `where`: the program's name, and its answer."""
    line = command.removeprefix("cd phone && ")
    if "ARCHITECTURE" in line:
        line = line.replace("ARCHITECTURE", next((where / "runs/mine/retrain").iterdir()).name)
    python, *words = shlex.split(line, comments=True)
    assert python == "python", command
    words = words[words[0] == "-m" :]
    name, given = words[0], [*words[1:], *shlex.split(SMALLER[words[0]])]
    if name == "time_networks.py":
        done = subprocess.run(
            [sys.executable, name, *given], cwd=where / "phone", capture_output=True, text=True
        )
        return name, Answer(done.returncode, done.stdout, done.stderr)
    if name == "supernet.score.latency":
        return name, inside(latency.main, *given)
    if name == "supernet.predict":
        return name, inside(predict.main, *given)
    return name, answer(name.removesuffix(".py"), *given)


def test_the_commands_lead_from_photos_and_a_latency_to_an_onnx_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    photos(tmp_path / "photos")
    names, said = [], ""
    for command in COMMANDS:
        name, done = typed(command, tmp_path)
        assert done.status == 0, (command, done.err)
        names.append(name)
        said = done.out
    assert list(dict.fromkeys(names)) == list(SMALLER), "each of them, in this order"
    assert len(said.splitlines()) == 3 and all(word in said for word in ("cat", "frog", "ship"))

    search = json.loads(Path("runs/mine/search/config.json").read_text())
    budget = re.search(r'--max-latency "([\d.]+) ms"', PAGE)
    assert budget is not None and search["max_latency"] == float(budget[1])
    (folder,) = Path("runs/mine/retrain").iterdir()
    assert (folder / "model.onnx").is_file()
    assert json.loads((folder / "config.json").read_text())["classes"] == ["cat", "frog", "ship"]
