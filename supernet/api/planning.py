"""Networks as files to be timed on another device, with the script that times them."""

import time
from pathlib import Path

from lanas.errors import UserError
from lanas.space import Arch, arch_id, as_tuples
from supernet.api import common
from supernet.api.timed import digest_of_networks
from supernet.progress import Progress, duration
from supernet.run import Run, atomic, read_json, write_json

SCRIPT = "time_networks.py"
BEST = 10  # of a search


def plan(
    run: str | Path | Run,
    out: str | Path,
    *,
    archs: int | None = None,
    batch: int = 1,
    search_tag: str | None = None,
    best: int | None = None,
    trust: bool = False,
) -> Path:
    """Write networks of a run as ONNX files to `out`, and a script that times them there.

    archs: how many; None for as many as the space needs. batch: images in a forward pass.
    search_tag: in place of these the `best` of that search ("" for the search without a tag; None
    for the first 10 that it has), so that what is reported was timed on the device as well. What is
    written is not written again. trust: run code that the folder names, as of `supernet.search`.
    Returns the folder. UserError, before anything is written, where the run has no supernet, archs
    are too few to be fitted or not there, and where `out` cannot be the folder of this plan.
    """
    from supernet import spaces
    from supernet.score.latency import design, files

    run = Run.open(run, trust=trust)
    run.require_supernet()
    for name, value in (("--archs", archs), ("--batch", batch), ("--best", best)):
        if value is not None and value < 1:
            raise UserError(f"{name} {value}: give 1 or more")
    if search_tag is None and best is not None:
        raise UserError(f"--best {best} is of a search: give its --search-tag, or --archs")
    if search_tag is not None and archs is not None:
        raise UserError(f"--archs {archs} is not of a search: with --search-tag give --best")
    if not str(out) or (Path(out).exists() and not Path(out).is_dir()):
        raise UserError(f"--out {str(out)!r}: it is a folder for the files, made if not there")
    out = Path(out)
    supernet = spaces.build(*spaces.kept(run.config["network"], run.path, trust=run.trust)).eval()
    space = supernet.space
    if search_tag is None:
        chosen = as_tuples(design.chosen(space, design.number(space, archs, "--archs")))
    else:
        chosen = _best(run, search_tag, best)
    about = {"space": digest_of_networks(supernet), "batch": batch}
    _same(out, about)
    if not (out / "plan.json").is_file():  # whose files these are, where this is stopped
        write_json(out / "plan.json", {**about, "files": []})
    left = [arch for arch in chosen if not (out / f"{arch_id(arch)}.onnx").exists()]
    with Progress("writing", len(left), state="ONNX files") as line:
        began = time.perf_counter()
        for count, arch in enumerate(left, 1):
            files.write(supernet, arch, out / f"{arch_id(arch)}.onnx", batch)
            line.update(count)
            if count == 1:  # which imports what exports as well
                began = time.perf_counter()
            if count == 4:
                said = duration((time.perf_counter() - began) / 3 * len(left))
                common.say(f"writing {len(left)} networks to {out}, about {said}")
    with atomic(out / SCRIPT) as file:
        file.write((Path(files.__file__).parent / SCRIPT).read_bytes())
    write_json(out / "plan.json", {**about, "files": [f"{arch_id(arch)}.onnx" for arch in chosen]})
    return out


def _best(run: Run, tag: str, best: int | None) -> list[Arch]:
    """The best architectures of a search; UserError where it has fewer than asked for."""
    from lanas.rank import ranked
    from supernet.api.searching import exceeding, told

    trials, score = told(run, tag)
    rows = ranked(trials, score, exceeding(run, tag))
    if len(rows) < (best or 1):
        named = "" if best is None else f"--best {best}: "
        path = run.search(tag, "--search-tag").trials
        raise UserError(f"{named}{path} has {len(rows) or 'no'} trials with a score")
    return [row.trial.arch for row in rows[: best or BEST]]


def _same(out: Path, about: dict[str, object]) -> None:
    """UserError where a folder holds a plan of other networks."""
    if not (out / "plan.json").is_file():
        return
    kept = read_json(out / "plan.json")
    if any(kept.get(name) != value for name, value in about.items()):
        raise UserError(f"{out} holds a plan of another run or batch; give another folder by --out")
