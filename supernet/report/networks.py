"""The retrained networks of a run as plain data: test, files, curves, mistakes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanas.files import npz, opened
from lanas.space import Arch
from lanas.trials import arch_of
from supernet.report.reading import Reader, count, curve, mapping, number, numbers, texts
from supernet.run import NetworkFolder, Run

WORST = 12  # mistakes that are shown
MOST_CLASSES = 100  # of a confusion matrix


@dataclass(frozen=True)
class Mistake:
    """A test image that is taken for another class: its index in the data; how sure, 0 to 1."""

    index: int
    target: int
    taken_for: int
    confidence: float


@dataclass(frozen=True)
class Network:
    """A retrained network. trained: epochs so far; done: whether it was measured.

    metric, test, low, high: the metric on test images and its 95 % interval, None where not there.
    measured: all metrics and costs. latency: as result.json has it. files: of each bytes,
    difference, test. classes: names. confusion: [target][taken for] images, empty where it is no
    classification. curve: loss and metric of each epoch. seeds: of several trainings `mean` and
    `deviation` of test and how many (`count`), else empty; the others have folders of their own.
    """

    name: str
    arch: Arch
    words: str
    done: bool
    metric: str
    test: float | None
    low: float | None
    high: float | None
    test_images: int | None
    measured: dict[str, float]
    latency: dict[str, Any]
    files: dict[str, dict[str, Any]]
    classes: list[str]
    confusion: list[list[int]]
    mistakes: list[Mistake]
    curve: list[dict[str, float]]
    drawing: dict[str, Any]
    settings: dict[str, Any]
    command: str | None
    seeds: dict[str, float]


def read(run: Run, reader: Reader) -> list[Network]:
    """The retrained networks of a run and those in training, by the time of their beginning."""
    folders = sorted(
        (each for each in run.path.glob("retrain/*") if (each / "settings.json").is_file()),
        key=lambda each: (each / "settings.json").stat().st_mtime_ns,
    )
    found = [reader.attempt(folder, lambda f=folder: _network(f, reader), None)  # type: ignore[misc]
             for folder in folders]  # fmt: skip
    return [network for network in found if network is not None]


def _network(path: Path, reader: Reader) -> Network:
    folder = NetworkFolder(path)
    result, config = reader.json(folder.result), reader.json(folder.config)
    interval = result.get("interval")
    low, high = interval if isinstance(interval, list) and len(interval) == 2 else (None, None)
    nothing: tuple[list[list[int]], list[Mistake]] = ([], [])
    confusion, mistakes = reader.attempt(folder.predictions, lambda: _confusion(folder), nothing)
    costs = {name: result.get(name) for name in ("macs", "params")}
    return Network(
        name=path.name,
        arch=arch_of(result["arch"]) if "arch" in result else _named(path.name),
        words=str(result.get("words", "")).partition(": ")[2],
        done=bool(result),
        metric=str(result.get("metric", "accuracy")),
        test=number(result.get("test")),
        low=number(low),
        high=number(high),
        test_images=count(result.get("test_images")),
        measured=numbers(result.get("measured")) | numbers(costs),
        latency=mapping(result.get("latency")),
        files={name: mapping(about) for name, about in mapping(result.get("files")).items()},
        classes=texts(config.get("classes")),
        confusion=confusion,
        mistakes=mistakes,
        curve=curve(path, reader),
        drawing=reader.json(folder.drawing),
        settings=reader.json(folder.settings),
        command=str(config["command"]) if "command" in config else None,
        seeds=_seeds(result.get("seeds")),
    )


def _seeds(value: Any) -> dict[str, float]:
    found = numbers(value)
    if not {"mean", "deviation"} <= found.keys() or not isinstance(value.get("test"), list):
        return {}
    return {name: found[name] for name in ("mean", "deviation")} | {"count": len(value["test"])}


def _named(name: str) -> Arch:
    """The architecture that a folder's name begins with: `2-0-1-TAG`."""
    found = []
    for part in name.split("-"):
        if not part.isdecimal():
            break
        found.append(int(part))
    return tuple(found)


def _confusion(folder: NetworkFolder) -> tuple[list[list[int]], list[Mistake]]:
    """Images by target and answer, and the mistakes of which the network is most sure."""
    if not folder.predictions.is_file():
        return [], []
    with opened(folder.predictions) as file:
        kept = npz(file)
        outputs, targets, indices = (kept[name] for name in ("outputs", "targets", "indices"))
    if outputs.ndim != 2 or targets.ndim != 1 or not np.issubdtype(targets.dtype, np.integer):
        return [], []
    classes = outputs.shape[1]
    if not 2 <= classes <= MOST_CLASSES or targets.min() < 0 or targets.max() >= classes:
        return [], []
    answers = outputs.argmax(axis=1)
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (targets, answers), 1)
    worst, sure = worst_mistakes(outputs, targets)
    mistakes = [
        Mistake(int(indices[i]), int(targets[i]), int(answers[i]), float(p))
        for i, p in zip(worst, sure, strict=True)
    ]
    return counts.tolist(), mistakes


def worst_mistakes(
    outputs: NDArray[Any], targets: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The rows of which a wrong answer is most sure, at most WORST, and how sure it is, 0 to 1.

    outputs [n, classes], targets [n].
    """
    answers = outputs.argmax(axis=1)
    sure = _softmax(outputs)[np.arange(len(answers)), answers]
    wrong = np.flatnonzero((answers != targets) & np.isfinite(sure))
    worst = wrong[np.argsort(-sure[wrong], kind="stable")[:WORST]]
    return worst, sure[worst]


def _softmax(outputs: NDArray[Any]) -> NDArray[np.float64]:
    shifted = outputs.astype(np.float64) - outputs.max(axis=1, keepdims=True)
    found: NDArray[np.float64] = np.exp(shifted)
    return np.asarray(found / found.sum(axis=1, keepdims=True))
