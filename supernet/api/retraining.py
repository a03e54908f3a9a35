"""`supernet.retrain`: one architecture trained from scratch, tested once, handed over as files."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lanas.errors import UserError
from lanas.files import BROKEN
from lanas.space import Arch, Space, arch_id, as_tuples
from supernet.api import common, trusted
from supernet.cli.settings import RetrainSettings, identity
from supernet.kept import settle, settled
from supernet.process import rank, undisturbed
from supernet.provenance import recorded
from supernet.run import NetworkFolder, Run, lock, read_json, write_json

if TYPE_CHECKING:
    from supernet.data.sets import Data
    from supernet.export.deployed import Deployed
    from supernet.export.forms import Forms
    from supernet.network import NetworkSpec, Supernet
    from supernet.training.teachers import Teacher

APART = (  # what does not make another training
    *("arch", "race", "beside", "search_tag", "score", "tag", "data", "seeds"),
    *("export", "opset", "onnx_input", "free_size"),
)

RANDOM = 10_000  # networks that are drawn, at most

# -- which architecture ------------------------------------------------------------------------


def select(
    run: str | Path | Run, arch: str | Sequence[int] | None = None, **settings: Any
) -> list[Arch]:
    """The architectures that `arch` names, each once; UserError where there are none such.

    arch: best or top:K of a search, or the number of a trial there; random:K; an architecture in
    words, or as indices. settings: those of `retrain`; `search_tag` names the search, `score` the
    score that ranks in place of the search's own, `seed` is that of random.
    """
    run = trusted.opened(run, settings)
    space = space_of(run)
    if arch is not None and not isinstance(arch, str):
        return as_tuples(space.canonical([space.check(tuple(arch))]))
    typed = settings | ({} if arch is None else {"arch": arch})
    args = common.settings(RetrainSettings, typed, trusted.defaults(run, "retrain", typed))
    return _named(run, args.arch, space, args)


def require_search(run: Run, tag: str) -> None:
    """UserError where --search-tag names no search of the run."""
    folder = run.search(tag, "--search-tag")
    if tag and not folder.path.is_dir():
        raise UserError(
            f"--search-tag {tag}: {folder.path} is not there; search.py {run.path} --tags lists "
            "the searches"
        )


def require_few(given: str, count: int) -> None:
    """UserError where more random networks are asked for than anybody trains."""
    if count > RANDOM:
        raise UserError(f"{given}: at most {RANDOM:,} random networks are drawn")


def _named(run: Run, arch: str, space: Space, args: RetrainSettings) -> list[Arch]:
    require_search(run, args.search_tag)
    kind, _, count = arch.partition(":")
    if kind in ("random", "top") and count.isdecimal() and int(count) == 0:
        raise UserError(f"--arch {arch}: give a number of at least 1")
    if kind == "random" and count.isdecimal():
        require_few(f"--arch {arch}", int(count))
        rng = np.random.default_rng(args.seed)
        drawn = as_tuples(space.canonical(space.sample(rng, 20 * int(count) + 100)))
        found = list(dict.fromkeys(drawn))[: int(count)]
        return _enough(arch, found, f"draws of {space.name} found {len(found)} different networks")
    if arch == "best" or (kind == "top" and count.isdecimal()) or arch.isdecimal():
        return _of_search(run, arch, space, args.search_tag, args.score)
    if "=" not in arch and "-" not in arch:
        raise UserError(
            f"--arch {arch!r}: allowed is best, top:K, random:K, a trial's number or an "
            f"architecture such as {space.words((0,) * len(space.choices))}"
        )
    return as_tuples(space.canonical([space.parse(arch)]))


def space_of(run: Run) -> Space:
    """The search space of a run; nothing is built and no data read."""
    from supernet import spaces

    inputs = None
    if run.format == 1:  # which does not keep the size of an input, and no space depends on it
        inputs = (run.config["network"].get("channels", 1), 1, 1)
    spec, copy = spaces.kept(run.config["network"], run.path, inputs, trust=run.trust)
    return spaces.space_of(spec, copy)


def _of_search(run: Run, arch: str, space: Space, search_tag: str, score: str | None) -> list[Arch]:
    """best, top:K or a trial's number, of a search that was made."""
    from lanas.handed import handed_on
    from lanas.rank import ranked, without_score
    from supernet.api.searching import exceeding, told

    log, by = told(run, search_tag, score)
    if not log:
        path = run.search(search_tag).trials
        raise UserError(f"--arch {arch}: {path} has no trials yet; run search.py first")
    for trial in log:
        space.check(trial.arch)
    if arch.isdecimal():
        if int(arch) >= len(log):
            raise UserError(f"--arch {arch}: trials are 0 to {len(log) - 1}")
        return [log[int(arch)].arch]
    count = int(arch.partition(":")[2] or 1)
    over = exceeding(run, search_tag)
    if score is not None and not ranked(log, by):
        raise without_score(run.search(search_tag).trials, log, by)
    rows = ranked(log, by, over)
    handed = handed_on(space, rows, by, count)
    if handed and handed[0].number != rows[0].number:
        first = handed[0]
        common.say(
            f"trial {first.number} (score {first.score:.4g}) is handed on in place of trial "
            f"{rows[0].number}, whose score of {rows[0].score:.4g} is likelier to be luck; "
            f"--arch {rows[0].number} takes that one"
        )
    found = [row.trial.arch for row in handed]
    path = run.search(search_tag).trials
    return _enough(arch, found, f"{path} has {len(found)} trials with a score")


def _enough(text: str, found: list[Arch], there: str) -> list[Arch]:
    """`found`; UserError where it is fewer than `text`, top:K or random:K, asks for."""
    if len(found) < int(text.partition(":")[2] or 1):
        raise UserError(f"--arch {text}: {there}")
    return found


# -- the training ------------------------------------------------------------------------------


@undisturbed()
def retrain(
    run: str | Path | Run, arch: str | Sequence[int] = "best", **settings: Any
) -> "Deployed":
    """Train one architecture from scratch on train and val, test it once, hand it over as files.

    arch: as of `select`, which has to name one. settings: the flags of retrain.py by their names,
    with _ for -; they win over the recipe of the run. Returns the network, which takes images as
    float32 [n, channels, h, w] in 0..1; its `result` is what result.json of its `folder` holds.
    What has been trained is not trained again; forms of `export` that its folder lacks are added.
    With `seeds` it is trained that often, each time in a folder of its own; the first is returned,
    and its result says what all of them reach. Raises UserError, in one line.
    """
    run = trusted.opened(run, settings)
    kept = trusted.defaults(run, "retrain", settings)
    args = common.settings(RetrainSettings, settings, kept)
    trusted.remember(args, settings)
    common.join(args)
    run.require_supernet()
    archs = select(run, arch, **settings)
    if len(archs) > 1:
        raise UserError(f"{arch} names {len(archs)} architectures; retrain one at a time")
    folder = run.network(arch_id(archs[0]), args.tag)
    require_same(run, args, archs)
    given = {**kept, **settings, "arch": arch_id(archs[0]), "seeds": 1}
    source = args.data or str(run.config["data"])
    if not common.on_several("retrain", run.path, args, given, source):
        net = _retrain(run, args, archs[0], folder)
    others = [retrain(run, archs[0], **settings | again) for again in more_seeds(args)]
    if rank():
        return net
    from supernet.api.loading import load

    net = load(folder.path, trust=run.trust)
    _require_result(net.result, folder)
    if others:
        every = [net.result["test"], *(other.result["test"] for other in others)]
        write_json(folder.result, net.result | {"seeds": _over_seeds(args.seed, every)})
        net = load(folder.path, trust=run.trust)
    return net


def require_same(run: Run, args: RetrainSettings, archs: Sequence[Arch]) -> None:
    """UserError where one of the architectures was trained by other settings, under any seed."""
    for arch in archs:
        for again in [{"tag": args.tag}, *more_seeds(args)]:
            there = run.network(arch_id(arch), again["tag"]).settings
            settled(there, identity(replace(args, **again), *APART), RetrainSettings)


def more_seeds(args: RetrainSettings) -> list[dict[str, Any]]:
    """What differs in the trainings of further seeds: seed and folder."""
    seeds = range(args.seed + 1, args.seed + args.seeds)
    return [
        {"seeds": 1, "seed": seed, "tag": f"{args.tag}-seed{seed}".lstrip("-")} for seed in seeds
    ]


def _over_seeds(first: int, tests: Sequence[float]) -> dict[str, Any]:
    """What result.json says of several seeds; the deviation is that of a sample."""
    return {
        "first": first,
        "test": list(tests),
        "mean": float(np.mean(tests)),
        "deviation": float(np.std(tests, ddof=1)),
    }


def _require_result(result: dict[str, Any], folder: NetworkFolder) -> None:
    """UserError where what result.json holds is no result that could be shown."""
    from supernet.report.tables import retrained_table

    try:
        retrained_table([result], [])
        [folder.path / name for name in result["difference_of_logits"]]
    except BROKEN as error:
        raise UserError(
            f"{folder.result} is no result of a retraining ({error!r:.100}); remove it, and the "
            "same command measures the network anew"
        ) from None


def _retrain(run: Run, args: RetrainSettings, arch: Arch, folder: NetworkFolder) -> "Deployed":
    device = common.device(args)

    import torch

    from supernet import spaces
    from supernet.api import handover
    from supernet.data.splits import read_splits
    from supernet.export.deployed import Deployed
    from supernet.export.formats import load_weights
    from supernet.training.loop import fit
    from supernet.training.runner import checkpoint_in

    kept = identity(args, *APART)
    splits = read_splits(run.splits_file)
    data = common.load_data(run, device, args.workers, splits, args.data)
    spec, copy = spaces.kept(run.config["network"], run.path, data.shape, trust=run.trust)
    result = read_json(folder.result) if folder.result.is_file() else {}
    forms = possible(run, args, data, arch, result)  # what is wrong is said first
    trusted.require_unchanged(args, folder.path, "this training")
    settled(folder.settings, kept, RetrainSettings)

    net = begun(run, args, spec, copy, arch)
    if forms and rank() == 0:
        handover.try_forms(forms, net, data.mean, data.std)
    if args.auxiliary:
        net.add_auxiliary()
    net.to(device)
    checkpoint_in(folder.path, net)  # raises before anything is written

    module = None
    if not result:  # what is wrong with a teacher is said first, too
        taught = teacher(run, args, data)
        module = common.training(
            net, data, args, "train+val", drop_path=args.drop_path, teacher=taught
        )
    where = {"device": device, "devices": args.processes, "threads": torch.get_num_threads()}
    with lock(folder.path):
        trusted.keep(args, folder.path, APART)
        settle(folder.settings, kept, RetrainSettings)
        if forms is None:
            return Deployed(net, data.mean, data.std, folder.path).eval()
        with recorded(run, "retrain", folder=folder.path.name, seed=args.seed, **where):
            if module is not None:
                common.say(f"retraining {spaces.space_of(spec, copy).words(arch)}")
                fit(module, folder.path, device=device, capture=args.capture)
            if args.auxiliary:
                net.remove_auxiliary()  # it has done its part
            if rank() == 0:  # the first of several devices measures and exports
                if module is None:  # it was trained before
                    load_weights(net, folder.weights)
                handover.hand_over(run, net, arch, data, folder, args, forms)
                if "seeds" in result:  # what several seeds reach, where a form is added
                    seeds = {"seeds": result["seeds"]}
                    write_json(folder.result, read_json(folder.result) | seeds)
    return Deployed(net, data.mean, data.std, folder.path).eval()


def possible(
    run: Run, args: RetrainSettings, data: "Data", arch: Arch, result: dict[str, Any]
) -> "Forms | None":
    """The forms to write of a network, as of `handover.asked_forms`; nothing is trained.

    result: what result.json holds, empty before it is there. UserError where the settings do not
    fit the data or the network.
    """
    import torch

    from supernet import spaces
    from supernet.api import handover
    from supernet.training.teachers import refuse_weights
    from supernet.training.weights import check_norms

    args.check(data, "train+val", args.processes)
    if args.teacher == "largest":
        refuse_weights(args)
    spec, copy = spaces.kept(run.config["network"], run.path, data.shape, trust=run.trust)
    with torch.device("meta"):
        alone = spaces.build(spec, copy, arch)
        check_extras(args, alone)
        check_norms(alone, args.batch_size, args.processes)
    return handover.asked_forms(args, alone, data.floats, result)


def begun(
    run: Run, args: RetrainSettings, spec: "NetworkSpec", copy: str | None, arch: Arch
) -> "Supernet":
    """The network of an architecture with the weights that its training begins with."""
    import torch

    from supernet import spaces
    from supernet.export.formats import load_weights
    from supernet.network import inherited
    from supernet.training.weights import initialise

    torch.manual_seed(args.seed)
    net = spaces.build(spec, copy, arch)
    initialise(net, args.init)
    if args.inherit:
        whole = spaces.build(spec, copy)
        load_weights(whole, run.weights)
        net.load_state_dict(inherited(net, whole))
    return net


def teacher(run: Run, args: RetrainSettings, data: "Data") -> "Teacher | None":
    """The largest path of the run's supernet where `--teacher largest` asks for it."""
    if args.teacher != "largest":
        return None

    from supernet import spaces
    from supernet.export.formats import load_weights
    from supernet.network import extract
    from supernet.score.extremes import extremes
    from supernet.training.teachers import of_network, refuse_weights

    refuse_weights(args)
    spec, copy = spaces.kept(run.config["network"], run.path, data.shape, trust=run.trust)
    whole = spaces.build(spec, copy)
    load_weights(whole, run.weights)
    largest, _ = extremes(whole, data.shape)
    return of_network(extract(whole, largest), data)


def check_extras(args: RetrainSettings, net: "Supernet") -> None:
    """UserError where two beginnings are given, or --drop-path or --auxiliary has no place."""
    if args.inherit and args.init != "random":
        raise UserError(f"--inherit takes the supernet's weights: leave out --init {args.init}")
    there = net.training_extras()
    if args.drop_path and "drop_path" not in there:
        raise UserError(
            f"--drop-path {args.drop_path}: networks of {net.space.name} have no path to "
            "drop (module DropPath); leave it out"
        )
    if args.auxiliary and "auxiliary" not in there:
        raise UserError(
            f"--auxiliary: networks of {net.space.name} have no auxiliary head, those of nasnet "
            "have; leave it out"
        )
