"""Run folders in the public format, made in milliseconds: what the page is shown of."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lanas.space import Choice, Space, arch_id
from lanas.verdict import judge

OPERATIONS = ("none", "skip", "conv1x1", "conv3x3", "avgpool3x3")
SPACE = Space("edges", tuple(Choice(f"edge{i}", OPERATIONS) for i in range(6)))
KEY = "0123456789ab"
WORTH = np.array([0.0, 0.02, 0.05, 0.06, 0.03])


def lines(path: Path, records: Sequence[Any]) -> None:
    """Lines of a log."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


def write(path: Path, content: Any) -> None:
    """A JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def measured(arch: Sequence[int], rng: np.random.Generator) -> dict[str, float]:
    """What is measured of an architecture: worse for `none`, dearer for convolutions."""
    quality = 0.7 + float(WORTH[list(arch)] @ (1.0, 0.5, 0.3, 2.0, 0.2, 0.1)) * 0.9
    macs = 1e5 + 9e4 * sum(option == 3 for option in arch) + 1e4 * sum(o == 2 for o in arch)
    accuracy = min(0.999, quality + float(rng.normal(0, 0.004)))
    return {"accuracy": accuracy, "macs": macs, "params": macs / 9, "memory": 16384.0}


def trained(run: Path, space: Space = SPACE, classes: Sequence[str] = ("0", "1", "2")) -> None:
    """A run whose supernet is trained."""
    network = {"family": space.name, "inputs": [1, 8, 8], "outputs": len(classes)}
    about = {"format": 2, "data": "digits", "image_size": None, "val_fraction": 0.2, "seed": 0}
    write(run / "config.json", about | {"epochs": 3, "network": network})
    images = {"train": 400, "val": 288, "test": 359}
    counts = {split: [n // len(classes)] * len(classes) for split, n in images.items()}
    kept = {"name": "digits", "task": "classification", "shape": [1, 8, 8], "images": images}
    write(run / "data.json", kept | {"classes": list(classes), "counts": counts})
    write(run / "space.json", space.to_data())
    rng = np.random.default_rng(0)
    np.savez(
        run / "thumbnails.npz",
        images=rng.integers(0, 255, (12, 8, 8, 1), dtype=np.uint8),
        targets=np.arange(12) % len(classes),
        classes=np.array(classes),
    )
    curve(run / "supernet")
    (run / "supernet" / "model.safetensors").write_bytes(b"")
    event(run, "train_supernet", 70.0)


def event(run: Path, script: str, seconds: float | None, **where: Any) -> None:
    """A beginning and, unless seconds is None, its end."""
    about = {"versions": {"lanas": "0.2.0"}, "commit": None, "machine": "m", "device": "cpu"}
    began = {"script": script, "event": "began", "time": "2026-11-27T00:00:00Z", **about, **where}
    ended = {"script": script, "event": "finished", "time": "2026-11-27T00:01:00Z"}
    with open(run / "history.jsonl", "a") as file:
        file.write(json.dumps(began) + "\n")
        if seconds is not None:
            file.write(json.dumps({**ended, "seconds": seconds}) + "\n")


def curve(folder: Path) -> None:
    """A log of three epochs."""
    file = folder / "log" / "version_0" / "metrics.csv"
    file.parent.mkdir(parents=True)
    file.write_text("accuracy,epoch,loss,step\n0.4,0,1.9,21\n0.8,1,0.7,43\n0.9,2,0.4,65\n")


def searched(
    run: Path,
    trials: int = 200,
    tag: str = "",
    space: Space = SPACE,
    error: str | None = None,
    **config: Any,
) -> list[tuple[int, ...]]:
    """A search of so many trials; its architectures. error: of all of them, else of none."""
    rng = np.random.default_rng(1)
    folder = run / "search" / tag
    up = "../" * (2 if tag else 1)
    archs = [tuple(map(int, row)) for row in space.sample(rng, trials)]
    found = [measured([min(o, 4) for o in (*arch, *[0] * 6)[:6]], rng) for arch in archs]
    score = {"name": "accuracy", "formula": "accuracy", "version": 1, "settings": {}}
    about = {"format": 2, "seed": 0, "optimiser": "lanas", "objectives": ["score"], "score": score}
    write(folder / "config.json", about | {"measured": f"{up}measured/{KEY}.jsonl"} | config)
    told = [
        {"trial": i, "arch": arch, "score": None if error else m["accuracy"], "seconds": 0.2}
        | ({"error": error} if error else {})
        for i, (arch, m) in enumerate(zip(archs, found, strict=True))
    ]
    lines(folder / "trials.jsonl", told)
    if error is None:
        rows = [
            {"arch": a, "measured": m, "seconds": 0.2} for a, m in zip(archs, found, strict=True)
        ]
        lines(run / "measured" / f"{KEY}.jsonl", rows)
    event(run, "search", 0.3 * trials, tag=tag)
    return archs


def checked(run: Path, archs: Sequence[tuple[int, ...]]) -> None:
    """Twelve of them trained alone, and the verdict."""
    rng = np.random.default_rng(2)
    known = {}
    for text in (run / "measured" / f"{KEY}.jsonl").read_text().splitlines():
        record = json.loads(text)
        known[tuple(record["arch"])] = record["measured"]
    some = list(dict.fromkeys(archs))[:12]
    alone = [known[arch]["accuracy"] + 0.02 + float(rng.normal(0, 0.002)) for arch in some]
    parts = ["random", "spread", "top"] * 4
    plan = [{"arch": arch, "part": part} for arch, part in zip(some, parts, strict=True)]
    write(run / "search" / "checks.json", {"keys": [KEY], "checks": plan, "pool": []})
    rows = [
        {"arch": arch, "measured": {"accuracy": value, "macs": known[arch]["macs"]}, "seconds": 9}
        for arch, value in zip(some, alone, strict=True)
    ]
    lines(run / "checks" / f"{KEY}.jsonl", rows)
    scores = [known[arch]["accuracy"] for arch in some]
    macs = [known[arch]["macs"] for arch in some]
    write(run / "search" / "verdict.json", judge(scores, alone, {"macs": macs}).to_data())


def retrained(run: Path, arch: Sequence[int], classes: Sequence[str] = ("0", "1", "2")) -> None:
    """One of them retrained and measured on test."""
    folder = run / "retrain" / arch_id(arch)
    curve(folder)
    rng = np.random.default_rng(3)
    targets = rng.integers(0, len(classes), 359)
    outputs = rng.normal(0, 1, (359, len(classes))).astype(np.float32)
    outputs[np.arange(359), targets] += 4
    test = float((outputs.argmax(1) == targets).mean())
    np.savez(folder / "predictions.npz", outputs=outputs, targets=targets, indices=np.arange(359))
    wrong = np.flatnonzero(outputs.argmax(1) != targets)
    images = rng.integers(0, 255, (len(wrong), 8, 8, 1), dtype=np.uint8)
    np.savez(folder / "mistakes.npz", images=images, indices=wrong)
    write(folder / "settings.json", {"epochs": 60, "lr": 0.05})
    write(folder / "config.json", {"classes": list(classes), "command": "python retrain.py run"})
    edges = [["in", "1", SPACE.choices[0].options[arch[0]]], ["1", "out", "conv3x3"]]
    cell = {"nodes": ["in", "1", "out"], "edges": edges}
    stages = [
        {"cell": "cell", "repeat": 1, "width": 16},
        {"cell": "cell", "repeat": 2, "width": 32},
    ]
    drawing = {"kind": "cells", "cells": {"cell": cell}, "stages": stages}
    write(folder / "drawing.json", drawing)
    files = {"model.onnx": {"bytes": 517218, "difference": 4e-6, "test": test, "test_images": 359}}
    result = {"arch": list(arch), "words": f"edges: {SPACE.words(arch)}", "metric": "accuracy"}
    result |= {"test": test, "interval": [test - 0.02, min(1, test + 0.01)], "test_images": 359}
    result |= {"seeds": {"test": [test, test - 0.01], "mean": test - 0.005, "deviation": 0.007}}
    result |= {"measured": {"accuracy": test}, "macs": 1e5, "params": 2e4, "files": files}
    (folder / "model.onnx").touch()
    write(folder / "result.json", result)
    event(run, "retrain", 60.0, folder=folder.name)


def complete(run: Path, trials: int = 200) -> Path:
    """A run with everything in it."""
    trained(run)
    archs = searched(run, trials, max_macs=5e5)
    checked(run, archs)
    retrained(run, archs[7])
    return run
