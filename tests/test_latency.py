"""Latency: the clock of the file, a design, a fit with an honest error, and what is reported."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from lanas.errors import UserError
from lanas.space import Arch, Archs, Choice, Floats, Space, as_tuples
from supernet.export.graphs import to_onnx
from supernet.network import NetworkSpec, Supernet
from supernet.score.latency import design, files
from supernet.score.latency.clock import ENGINES, Clock, Networks, clock_of, milliseconds, time_file
from supernet.score.latency.fitting import Fit, fit, interval, load_fit, save_fit
from supernet.score.latency.measuring import Figures, measured
from supernet.score.latency.time_networks import burst, quantile
from supernet.spaces import build, mbconv, nb201
from tests import toys

CLOCK = Clock("onnxruntime", "1.0", "a device", 1, 1)
SPACE = Space("two", (Choice("a", ("x", "y")), Choice("b", ("p", "q", "r"))))


def tiny(family: str = "nb201") -> Supernet:
    torch.manual_seed(0)
    return build(NetworkSpec(family, (1, 8, 8), 3, 4, (1, 1, 1))).eval()


# -- the clock ---------------------------------------------------------------------------------


def test_a_run_that_takes_5_ms_is_measured_in_ms() -> None:
    """A sleep is never shorter; a machine so busy that 5 ms take 500 in the median is none."""
    times = burst(lambda: time.sleep(0.005), alone=False, seconds=0)
    assert len(times) == 5 and 5 <= quantile(times, 0.5) < 500


def test_time_in_which_the_thread_does_not_run_is_not_its_own() -> None:
    """Of a network in one thread: another process that has the processor does not slow it."""
    assert quantile(burst(lambda: time.sleep(0.05), alone=True, seconds=0), 0.5) < 25


def test_a_file_is_timed_by_the_engine_that_is_named(tmp_path: Path) -> None:
    net = tiny()
    model, shape = files.deployed(net, (3,) * 6)
    to_onnx(model, tmp_path / "model.onnx", torch.zeros(2, *shape))
    times = time_file(tmp_path / "model.onnx", 2)
    assert 0 < times["p25_ms"] <= times["median_ms"] <= times["p75_ms"]
    with pytest.raises(UserError, match=r"cannot be timed by onnxruntime-cuda: .* has no CUDA"):
        time_file(tmp_path / "model.onnx", 2, "onnxruntime-cuda")


def test_a_clock_says_engine_version_device_threads_and_batch() -> None:
    clock = clock_of(None, "cpu", 2, 8)
    assert (clock.engine, clock.version) == ("onnxruntime", onnxruntime.__version__)
    assert str(clock).endswith(", 2 threads, batch 8") and clock.device
    keys = {clock_of("torch-compile", "cpu", 2, 8).key, clock.key, clock_of(None, "cpu", 1, 8).key}
    assert len(keys) == 3
    with pytest.raises(UserError, match="has no CUDAExecutionProvider"):
        clock_of("onnxruntime-cuda", "cpu", 1, 1)
    with pytest.raises(UserError, match=f"one of {', '.join(ENGINES)}"):
        clock_of("eager", "cpu", 1, 1)


def operations(path: Path, aside: Path) -> dict[str, int]:
    """What ONNX Runtime makes of a file: its convolutions, fused or not, and products."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(aside), 3
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type.removeprefix("Fused") for node in onnx.load(aside).graph.node]
    return {kind: kinds.count(kind) for kind in ("Conv", "Gemm", "Mul", "Add", "AveragePool")}


@pytest.mark.parametrize("family", ["nb201", "mbconv"])
def test_what_is_timed_runs_as_what_is_handed_over(family: str, tmp_path: Path) -> None:
    """Written in a tenth of the time, without weights of its own, and the same once it runs."""
    net = tiny() if family == "nb201" else mb()
    arch = as_tuples(net.space.canonical(net.space.sample(np.random.default_rng(3), 1)))[0]
    model, shape = files.deployed(net, arch)
    to_onnx(model, tmp_path / "whole.onnx", torch.zeros(2, *shape))
    files.write(net, arch, tmp_path / "timed.onnx", 1)
    whole = operations(tmp_path / "whole.onnx", tmp_path / "a.onnx")
    timed = operations(tmp_path / "timed.onnx", tmp_path / "b.onnx")
    assert whole == timed and timed["Conv"] > 3
    (given,) = onnx.load(tmp_path / "timed.onnx", load_external_data=False).graph.input
    assert [d.dim_value for d in given.type.tensor_type.shape.dim] == [1, *shape]


def mb() -> Supernet:
    spec = NetworkSpec("mbconv", (3, 32, 32), 7, 0.25, (1,) * 5, {"resolutions": [16, 32]})
    return build(spec).eval()


def test_a_network_runs_at_its_own_resolution_and_a_constant_one_runs_too(tmp_path: Path) -> None:
    net = mb()
    for arch in ((0,) * len(net.space.choices), (1, *(0,) * (len(net.space.choices) - 1))):
        assert milliseconds(Networks(net, CLOCK, tmp_path)(arch), CLOCK) > 0
    sides = {onnx.load(path, load_external_data=False).graph.input[0].type.tensor_type.shape.dim[2]
             .dim_value for path in tmp_path.glob("*.onnx")}  # fmt: skip
    assert sides == {16, 32}
    constant = (0,) * 6  # nb201: none everywhere, whose output does not depend on the image
    assert milliseconds(Networks(tiny(), CLOCK, tmp_path)(constant), CLOCK) > 0


# -- the design --------------------------------------------------------------------------------


SPACES = [nb201.space(), toys.mixed(), mbconv.space()]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_a_design_has_every_option_and_one_of_more_begins_with_it(space: Space) -> None:
    count = design.number(space)
    assert count >= 1.2 * design.free_columns(space)
    archs = design.chosen(space, count)
    assert np.array_equal(space.canonical(archs), archs)
    assert len(np.unique(archs, axis=0)) == len(archs)
    assert not design.uncovered(space, archs)
    assert np.array_equal(design.chosen(space, count // 2), archs[: count // 2])
    rank = np.linalg.matrix_rank(design.with_base(space, archs))
    assert rank == design.free_columns(space)


def test_fewer_networks_than_can_be_fitted_are_refused() -> None:
    with pytest.raises(UserError, match=r"--latency-archs 29: .*25 free columns.* at least 30"):
        design.number(nb201.space(), 29)
    assert design.number(nb201.space(), 30) == 30
    assert design.number(SPACE, 6) == 6  # all there are


# -- the fit -----------------------------------------------------------------------------------


def simulated(space: Space, seed: int) -> tuple[Callable[[Archs], Floats], Callable[[Arch], float]]:
    """An exactly linear device, and what it tells of an architecture: up to 20 % more."""
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0, 1, space.width)

    def truth(archs: Archs) -> Floats:
        return 2 + space.encode(archs) @ weights

    return truth, lambda arch: float(truth(space.as_array(arch))[0] * (1 + 0.2 * rng.random()))


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3))]
)
def test_networks_predicted_fastest_are_within_5_percent_of_the_fastest(
    seed: int, tmp_path: Path
) -> None:
    """26 choices, 198 columns; of 20,000 networks the 20 predicted fastest by what they take."""
    options = [8] * 16 + [7] * 10
    names = [tuple(map(str, range(count))) for count in options]
    space = Space("26", tuple(Choice(f"c{i}", each) for i, each in enumerate(names)))
    assert space.width == 198
    truth, measure = simulated(space, seed)
    archs = design.chosen(space, design.number(space))
    assert len(archs) > space.width
    figures = Figures(tmp_path / "figures.jsonl")
    ms = measured(as_tuples(archs), measure, figures, what="", say=lambda line: None)
    fitted = fit(space, archs, ms)
    tried = space.sample(np.random.default_rng(99), 20_000)
    takes = truth(tried)
    fastest = takes[np.argsort(fitted.cost(space, tried))[:20]].mean()
    assert fastest <= 1.05 * np.sort(takes)[:20].mean()
    assert fitted.interval[0] <= fitted.median_error <= fitted.interval[1] <= fitted.max_error


def test_a_linear_latency_is_recovered_and_no_weight_is_negative() -> None:
    space = nb201.space()
    truth, _ = simulated(space, 1)
    archs = design.chosen(space, 100)
    fitted = fit(space, archs, truth(archs), clock=CLOCK)
    assert fitted.measured == 100 and fitted.max_error < 0.01 and fitted.clock == CLOCK
    fresh = space.canonical(space.sample(np.random.default_rng(5), 50))
    assert np.abs(fitted.cost(space, fresh) / truth(fresh) - 1).max() < 0.01
    rng = np.random.default_rng(0)
    wild = fit(space, archs, rng.uniform(0.1, 10, len(archs)))  # of no architecture in particular
    assert wild.cost.base >= 0 and min(term.table.min() for term in wild.cost.terms) >= 0
    assert wild.median_error > 0.25
    with pytest.raises(UserError, match=r"no network with \w+=\w+ was measured"):
        fit(space, archs[archs[:, 2] != 3], truth(archs[archs[:, 2] != 3]))


def test_two_choices_have_a_table_together_where_it_pays() -> None:
    space = toys.plain(4, 4)
    truth, _ = simulated(space, 2)

    def together(archs: Archs) -> Floats:
        return truth(archs) + 3.0 * ((archs[:, 0] == 1) & (archs[:, 2] == 3))

    archs = design.chosen(space, 150)
    fitted = fit(space, archs, together(archs))
    assert {term.choices for term in fitted.cost.terms if len(term.choices) > 1} >= {(0, 2)}
    assert fitted.median_error < 0.02
    plain = fit(space, archs, truth(archs))
    assert {len(term.choices) for term in plain.cost.terms} == {1}


def test_the_interval_of_a_median_covers_it() -> None:
    """Of 100 samples of 60 errors at least 85 intervals have the true median, by chance 1e-4."""
    rng = np.random.default_rng(0)
    covers = 0
    for _ in range(100):
        low, high = interval(rng.exponential(1.0, 60))
        covers += low <= np.log(2) <= high
    assert covers >= 85


def test_a_fit_that_is_kept_is_the_same(tmp_path: Path) -> None:
    cost = toys.cost(SPACE, np.arange(5.0), 0.5)
    save_fit(tmp_path / "l.json", Fit(cost, 7, 0.01, (0.0, 0.02), 0.025, 0.03, "tables", CLOCK))
    fitted = load_fit(tmp_path / "l.json", SPACE)
    assert (fitted.measured, fitted.median_error, fitted.max_error) == (7, 0.01, 0.03)
    assert (fitted.interval, fitted.form, fitted.clock) == ((0.0, 0.02), "tables", CLOCK)
    assert fitted.tail_error == 0.025
    archs = SPACE.enumerate()
    assert fitted.cost(SPACE, archs).tolist() == cost(SPACE, archs).tolist()
    with pytest.raises(UserError, match="of another space"):
        load_fit(tmp_path / "l.json", nb201.space())


# -- figures on disk ---------------------------------------------------------------------------


def test_measuring_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    space = toys.plain(3, 3)
    archs = as_tuples(space.enumerate())
    asked: list[Arch] = []

    def machine(stop_at: int) -> Callable[[Arch], float]:
        def measure(arch: Arch) -> float:
            if len(asked) == stop_at:
                raise KeyboardInterrupt
            asked.append(arch)
            return 1.0 + sum(arch)

        return measure

    def go(stop_at: int = -1) -> Floats:
        said: list[str] = []
        figures = Figures(tmp_path / "figures.jsonl")
        found = measured(archs, machine(stop_at), figures, what="it", say=said.append)
        assert said == [] or "27 networks in 3 rounds, about" in said[0]
        return found

    with pytest.raises(KeyboardInterrupt):
        go(40)
    found = go()
    assert found.tolist() == [1.0 + sum(arch) for arch in archs]
    assert len(asked) == 3 * 27 and all(asked.count(arch) == 3 for arch in archs)
    go(len(asked))  # nothing is left


def test_the_least_of_the_rounds_counts_and_there_are_more_where_figures_fall(
    tmp_path: Path,
) -> None:
    archs = as_tuples(toys.plain(3, 3).enumerate())
    rounds: dict[Arch, list[float]] = {arch: [9.0, 5.0, 4.0, 3.0, 8.0, 8.0] for arch in archs}
    taken = Figures(tmp_path / "a.jsonl")
    found = measured(archs, lambda arch: rounds[arch].pop(0), taken, what="", say=print)
    assert set(found.tolist()) == {3.0}  # a fourth since the third was less, a fifth to see that
    assert {len(left) for left in rounds.values()} == {1}


@pytest.mark.parametrize("figure", [0.0, -1.0, float("nan"), float("inf")])
def test_a_figure_that_is_no_time_is_refused(figure: float, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="which is not above 0"):
        Figures(tmp_path / "a.jsonl").add((0, 1), 0, figure)
