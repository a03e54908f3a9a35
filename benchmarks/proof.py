#!/usr/bin/env python3
"""Is what a search hands on worth its cost? Test accuracy beside plain ways to choose a network.

    python benchmarks/proof.py runs/proof --images cifar10.npz --size reduced

For each of the spaces macro and sizes, with a budget (the median of the space's multiply-
accumulates) and without one, and for each seed: a supernet by the space's recipe, made shorter, and
searches of it by LaNAS, evolution and random draws, as many trials each. Then trained alone by one
schedule, and tested:

  lanas, evolution, random search   the network that each search hands on
  raced       of the best K of LaNAS the winner of a race on val (retrain.py --race)
  random      K random networks within the budget: the median, and the best by test, which nobody
              can choose; and "random, raced", the winner of the same race among them
  largest     the most multiply-accumulates within the budget
  textbook    MobileNetV2 (macro) or ResNet-20 (sizes), as wide as the budget allows, or the
              narrowest where none is within; without a budget, as the largest network

What it costs is printed first. A network is trained once for a seed, whichever rows it is in. The
seeds come first, then budgets: each piece is useful alone, and the table is printed after each, to
OUT/proof.md too. A stop loses at most an epoch; the same command goes on. --size says how much is
trained; --minutes, that nothing is begun after so many. On two cores: the command with --spaces
macro beside the one with --spaces sizes, in the same OUT, and then without for the whole table.

Published is the accuracy of NAS-Bench-Macro of the same architecture at full size (--tables).
Settings of the recipe of macro were chosen on that table: its rows are in-sample.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch.nn.functional import cross_entropy

import supernet
from lanas import Table
from lanas.costs import Cost
from lanas.space import Arch, Space, arch_id, as_tuples
from supernet.api.racing import plan
from supernet.network import extract
from supernet.progress import duration
from supernet.run import Run, atomic, read_json, write_json
from supernet.score.counted import count, median_of, of_supernet, on_meta
from supernet.spaces import build, family, specify

ROOT = Path(__file__).resolve().parents[1]
BOOK = str(ROOT / "benchmarks" / "textbook.py")
SEARCHES = {"lanas": "lanas", "evolution": "evolution", "random search": "random"}
TEXTBOOK = {"macro": "mobilenetv2", "sizes": "resnet20"}
BUDGETS = ("median MACs", "none")
COLUMNS = ("space", "budget", "row", "test accuracy, %", "seeds", "MMACs", "epochs alone",
           "published, %")  # fmt: skip


@dataclass(frozen=True)
class Size:
    """How much is trained: images of train and test (None: all), pixels, epochs, trials, K."""

    train: int | None
    test: int | None
    pixels: int
    supernet: int
    alone: int
    trials: int
    rivals: int
    networks: dict[str, dict[str, Any]]  # of each space the settings that make it smaller
    batch: int = 128
    precision: str = "32"


NARROW = {"macro": {"width": 8}, "sizes": {"options": {"channels": [4, 8, 12, 16, 20, 24, 28, 32]}}}
SIZES = {
    "tiny": Size(200, 40, 8, 1, 2, 6, 2,
                 {"macro": {"width": 2}, "sizes": {"options": {"channels": [2, 4]}}}, batch=20),
    "small": Size(2500, 2000, 16, 10, 6, 40, 4, NARROW, batch=64),
    "reduced": Size(8000, 10_000, 16, 24, 12, 100, 8, NARROW),
    "full": Size(None, None, 32, 60, 100, 200, 8, {"macro": {}, "sizes": {}},
                 precision="bf16"),
}  # fmt: skip


@dataclass(frozen=True)
class Proof:
    """One call: where its runs lie, how much is trained, on which data and device, until when."""

    out: Path
    size: Size
    data: str
    settings: dict[str, Any]  # device and threads
    until: float = float("inf")  # by time.monotonic

    def alone(self, seed: int) -> dict[str, Any]:
        """Settings of a network trained alone: the same for every row."""
        return {
            **{"epochs": self.size.alone, "batch_size": self.size.batch, "lr": 0.1, "warmup": 1.0},
            **{"weight_decay": 5e-4, "label_smoothing": 0.1, "init": "random", "seed": seed},
            "precision": self.size.precision,
            **self.settings,
        }

    def test(self, run: Run, arch: Arch, seed: int) -> dict[str, Any]:
        """Train one network alone on train and val, and test it; read where it is done."""
        tag = f"seed{seed}"
        if not run.network(arch_id(arch), tag).result.is_file():
            self.go()
        net = supernet.retrain(run, arch, tag=tag, export=("pt2",), **self.alone(seed))
        return {"test": 100 * net.result["test"], "macs": net.result["macs"], "arch": arch}

    def go(self) -> None:
        """Before anything is begun; TimeoutError where the time is over."""
        if time.monotonic() > self.until:
            raise TimeoutError


# -- the spaces ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Field:
    """A space at a size: its multiply-accumulates, those of its largest, and the budgets."""

    name: str
    space: Space
    macs: Cost
    largest: float
    budgets: dict[str, float | None]
    seconds: float  # of a step with one image, of a network of about the median

    @classmethod
    def of(cls, name: str, proof: "Proof") -> "Field":
        given = {"width": None, "options": None} | proof.size.networks[name]
        shape = (3, proof.size.pixels, proof.size.pixels)
        net = build(specify(name, shape, 10, given["width"], None, given["options"]))
        space, macs = net.space, of_supernet(on_meta(net), shape)["macs"]
        median = median_of(space, macs)
        archs = as_tuples(space.sample(np.random.default_rng(0), 50))
        middle = archs[int(np.abs(macs(space, archs) - median).argmin())]
        alone = extract(net, middle).to(proof.settings["device"])
        images = torch.randn(64, *shape, device=proof.settings["device"])
        labels = torch.zeros(64, dtype=torch.int64, device=images.device)
        # Beside other work the time of the processor, not that of the clock.
        now = time.process_time if images.device.type == "cpu" else time.perf_counter
        times = []
        for _ in range(4):
            start = now()
            cross_entropy(alone(images), labels).backward()
            labels.sum().item()  # waits for the device
            times.append((now() - start) / len(images))
        most = float(macs(space, space.enumerate()).max())
        budgets = dict(zip(BUDGETS, (median, None), strict=True))
        return cls(name, space, macs, most, budgets, float(np.median(times)))

    def within(self, budget: str) -> Arch:
        """The architecture of most multiply-accumulates within a budget."""
        archs, limit = self.space.enumerate(), self.budgets[budget] or np.inf
        costs = self.macs(self.space, archs)
        return as_tuples(archs[[int(np.where(costs <= limit, costs, -1.0).argmax())]])[0]


def textbook(field: Field, shape: Sequence[int]) -> dict[str, str]:
    """Of each budget the name of the textbook network, as wide as fits."""
    kind, found = TEXTBOOK[field.name], {}
    step = 1.0 if kind == "resnet20" else 0.05
    for budget, limit in field.budgets.items():
        name, width = "", step
        while True:
            at = f"{kind}-{width:g}"
            spec = specify(BOOK, shape, 10, None, None, {"networks": [at, f"{at}0"]})
            net = on_meta(build(spec))
            macs = count(extract(net, (0,), inherit=False), shape)["macs"]
            if name and macs > (limit or field.largest):
                break
            name, width = at, round(width + step, 2)
        found[budget] = name
    return found


def shelf(proof: Proof, field: Field) -> Run:
    """A run of a space's textbook networks, one for each budget in order; nobody searches it."""
    shape = (3, proof.size.pixels, proof.size.pixels)
    names = list(textbook(field, shape).values())
    if names[0] == names[1]:  # another name of the same width
        names[1] += "0" if "." in names[1] else ".0"
    return supernet.train(
        proof.out / f"textbook-{field.name}", data=proof.data, image_size=proof.size.pixels,
        epochs=1, space=BOOK, batch_size=proof.size.batch, val_fraction=0.1,
        options={"networks": names}, **proof.settings,
    )  # fmt: skip


# -- a piece ---------------------------------------------------------------------------------------


def trained(proof: Proof, space: str, seed: int) -> Run:
    """The supernet of a space and a seed, by its recipe made shorter."""
    path = proof.out / f"{space}-seed{seed}"
    if not (path / "supernet" / "model.safetensors").is_file():
        proof.go()
    recipe = ROOT / "recipes" / f"cifar10-{space}.yaml"
    more = {"width": None} | proof.size.networks[space] | proof.settings
    return supernet.train(
        path, config=recipe, data=proof.data, image_size=proof.size.pixels, seed=seed,
        epochs=proof.size.supernet, batch_size=proof.size.batch,
        precision=proof.size.precision, **more,
    )  # fmt: skip


def piece(proof: Proof, field: Field, budget: str, seed: int) -> list[dict[str, Any]]:
    """All rows of a space, a budget and a seed; epochs: of all trainings alone that a row needs."""
    size, run = proof.size, trained(proof, field.name, seed)
    picks: dict[str, list[Arch]] = {}
    for row, optimiser in SEARCHES.items():
        proof.go()
        tag = f"{optimiser}-{budget.replace(' ', '-')}"
        supernet.search(run, optimiser=optimiser, trials=size.trials, tag=tag, seed=seed,
                        max_macs=field.budgets[budget], **proof.settings)  # fmt: skip
        picks[row] = supernet.select(run, "best", search_tag=tag)
    tag = f"lanas-{budget.replace(' ', '-')}"
    best = supernet.select(run, f"top:{size.rivals}", search_tag=tag)
    others = supernet.rivals(run, search_tag=tag, beside=f"random:{size.rivals}", seed=seed)
    proof.go()
    for row, archs in (("raced", best), ("random, raced", others)):
        picks[row] = [supernet.race(run, archs, **proof.alone(seed)).arch]
    picks |= {"random": others, "largest": [field.within(budget)]}
    rungs = sum(number * epochs for number, epochs in plan(size.rivals, size.alone))
    spent = {row: size.alone * len(archs) for row, archs in picks.items()}
    spent |= dict.fromkeys(("raced", "random, raced"), rungs + size.alone)
    rows = [
        {"row": row, "epochs": spent[row], "networks": [proof.test(run, a, seed) for a in archs]}
        for row, archs in picks.items()
    ]
    books, place = shelf(proof, field), list(field.budgets).index(budget)
    book = books.config["network"]["options"]["networks"][place]
    of_book = proof.test(books, (place,), seed)
    rows.append({"row": f"textbook ({book})", "epochs": size.alone, "networks": [of_book]})
    about = {"space": field.name, "budget": budget, "seed": seed, "limit": field.budgets[budget]}
    return [about | row for row in rows]


def pieces(
    args: argparse.Namespace, fields: Sequence[Field]
) -> Iterator[tuple[int, str, Field, Path]]:
    """Seeds, then budgets, then spaces, each with the file of its rows."""
    for seed in range(args.first, args.first + args.seeds):
        for budget in args.budgets:
            for field in fields:
                file = f"{field.name}-{budget.replace(' ', '-')}-seed{seed}.json"
                yield seed, budget, field, args.out / file


# -- what is said ----------------------------------------------------------------------------------


def cost(proof: Proof, fields: Sequence[Field], todo: int) -> str:
    """What it takes at most, from the time of a few steps."""
    size = proof.size
    images = size.train or 50_000
    rungs = sum(number * epochs for number, epochs in plan(size.rivals, size.alone))
    alone = 2 * rungs + size.alone * (len(SEARCHES) + size.rivals + 2)
    passes = images * (alone + size.supernet)  # a supernet serves all budgets of a seed
    scored = 0.3 * size.trials * len(SEARCHES) * (1024 + images / 10)  # forward passes alone
    seconds = todo * (passes + scored) * sum(field.seconds for field in fields) / len(fields)
    return (
        f"proof: {todo} pieces, of each at most {alone} epochs of networks alone and a supernet of "
        f"{size.supernet} epochs, {images:,} images an epoch; about {duration(seconds)}, by the "
        "time of a few steps, and the files of each network besides"
    )


def table(rows: Sequence[Mapping[str, Any]], truth: Mapping[Arch, float]) -> list[str]:
    """Lines of a table: mean and deviation over seeds."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["space"], row["budget"], row["row"]), []).append(row)
    for (space, budget, name), found in sorted(groups.items(), key=lambda item: item[0][:2]):
        kinds = ("median", "best by test") if name == "random" else ("",)
        for kind in kinds:
            nets = [_one(row["networks"], kind) for row in found]
            tests = np.array([net["test"] for net in nets])
            spread = f" ± {tests.std(ddof=1):.2f}" if len(tests) > 1 else ""
            known = [truth[a] for net in nets if (a := tuple(net["arch"])) in truth]
            whole = space == "macro" and len(known) == len(nets)
            cells = (
                space,
                budget,
                f"{name}, {kind}" if kind else name,
                f"{tests.mean():.2f}{spread}",
                len(nets),
                f"{np.mean([net['macs'] for net in nets]) / 1e6:.2f}",
                f"{np.mean([row['epochs'] for row in found]):.0f}",
                f"{np.mean(known):.2f}" if whole else "",
            )
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def _one(networks: Sequence[Mapping[str, Any]], kind: str) -> Mapping[str, Any]:
    """The network that stands for a row: the only one, the best by test, or the lower median."""
    order = sorted(networks, key=lambda net: float(net["test"]))
    return order[-1] if kind == "best by test" else order[(len(order) - 1) // 2]


def paired(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the raced pick gains on the random networks: a mean over budgets for each seed."""
    by = {(r["space"], r["seed"], r["budget"], r["row"]): r["networks"] for r in rows}
    keys = sorted({key[:3] for key in by})
    lines = []
    for space in sorted({key[0] for key in keys}):
        for other, kind in (("random, raced", ""), ("random", "best by test")):
            gains: dict[int, list[float]] = {}
            for key in keys:
                if key[0] == space:
                    beside = _one(by[(*key, other)], kind)
                    gain = float(by[(*key, "raced")][0]["test"]) - float(beside["test"])
                    gains.setdefault(key[1], []).append(gain)
            each = [float(np.mean(found)) for found in gains.values()]
            said = f"{np.mean(each):+.2f}"
            if np.ptp(each) > 0:
                low, high = stats.t.interval(0.95, len(each) - 1, np.mean(each), stats.sem(each))
                said += f" ({low:+.2f} to {high:+.2f})"
            name = f"{other}, {kind}" if kind else other
            lines.append(f"{space}: raced less {name}: {said} points, {len(each)} seeds")
    return lines


def published(tables: Path, space: Space) -> dict[Arch, float]:
    """The accuracy of NAS-Bench-Macro in percent by architecture; empty where it is not there."""
    file = tables / "nasbench_macro_cifar10.npz"
    if not file.is_file():
        return {}
    known = Table.load(file, space, score="mean_acc")
    archs = space.enumerate()
    return dict(zip(as_tuples(archs), known.scores[known.rows(archs)].tolist(), strict=True))


def images(file: Path, size: Size, out: Path) -> str:
    """The data set of this size: the first so many images of train and of test."""
    if size.train is None:
        return str(file)
    made = out / "images.npz"
    if not made.is_file():
        with np.load(file) as whole:
            parts = {f"{x}_train": whole[f"{x}_train"][: size.train] for x in "xy"}
            parts |= {f"{x}_test": whole[f"{x}_test"][: size.test] for x in "xy"}
        with atomic(made) as part:
            np.savez(part, **parts)
    return str(made)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=Path, required=True, help="CIFAR-10 as a plain .npz file")
    parser.add_argument("--size", choices=SIZES, default="reduced")
    parser.add_argument("--spaces", nargs="+", choices=TEXTBOOK, default=list(TEXTBOOK))
    parser.add_argument("--budgets", nargs="+", choices=BUDGETS, default=list(BUDGETS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--minutes", type=float, help="begin nothing after so many")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tables", type=Path, default=Path("../shared/data"))
    return parser.parse_args()


def main() -> None:
    args, start = arguments(), time.monotonic()
    size, device = SIZES[args.size], {"device": args.device, "threads": args.threads}
    args.out.mkdir(parents=True, exist_ok=True)
    until = start + 60 * args.minutes if args.minutes else float("inf")
    proof = Proof(args.out, size, images(args.images, size, args.out), device, until)
    torch.set_num_threads(args.threads or torch.get_num_threads())
    fields = [Field.of(name, proof) for name in args.spaces]
    todo = list(pieces(args, fields))
    print(cost(proof, fields, sum(not file.is_file() for *_, file in todo)), flush=True)
    truth = published(args.tables, family("macro").space())
    done: list[dict[str, Any]] = []
    try:
        for seed, budget, field, file in todo:
            if not file.is_file():
                rows = piece(proof, field, budget, seed)
                write_json(file, {"rows": rows})
            done += read_json(file)["rows"]
            lines = [*table(done, truth), "", *paired(done)]
            (args.out / "proof.md").write_text("\n".join(lines) + "\n")
            print("\n".join(lines), flush=True)
    except TimeoutError:
        print(f"stopped after {args.minutes:g} minutes; the same command goes on", flush=True)


if __name__ == "__main__":
    sys.exit(main())
