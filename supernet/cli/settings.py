"""The settings of the three scripts, of their recipes and of `supernet.train`, `search`, `retrain`.

A class is a heading of `--help`, the text below a field its help. What they may be, and how texts
become values: `supernet.settings`. Imports no torch, so that `--help` answers at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

from lanas import optimisers
from lanas.errors import UserError
from supernet import spaces
from supernet.settings import Alias, Amount, AtLeast, OneOf, Own, Seed, given
from supernet.training.rates import read
from supernet.training.settings import TrainingSettings
from supernet.training.strategies import StrategySettings
from supernet.workers.settings import WorkersSettings

Count = Annotated[int, AtLeast(1)]
Repeats = Annotated[int, AtLeast(1, most=1000)]  # trainings of one network


# -- shared ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class DeviceSettings:
    """Device (changes no result)"""

    device: str = "auto"
    """auto, cpu, or an accelerator of torch: cuda, mps, or to search on xpu; N or cuda:N is the one
    of that number"""
    threads: Annotated[int, AtLeast(0, most=1024)] = 0
    """threads of the processor; 0: as many as torch takes"""
    workers: Annotated[int, AtLeast(0)] = 2
    """processes that decode an image folder; 0: this one"""
    estimate: bool = False
    """say what this will take in time, memory and disk, by a few of its steps, and stop"""
    deterministic: bool = False
    """on a GPU, only operations that give the same bytes every time; slower (docs/results.md)"""


@dataclass(frozen=True, kw_only=True)
class ReportSettings:
    """Report"""

    report: bool = True
    """write RUN/report.html, a page that explains the run, at the end and at most once a minute
    before"""


@dataclass(frozen=True, kw_only=True)
class TrustSettings:
    """Code that came with a folder"""

    trust: bool = False
    """run code that a folder names and no command of yours has named before: its spaces, scores and
    other parts; it can do whatever you can"""


@dataclass(frozen=True, kw_only=True)
class DevicesSettings(DeviceSettings):
    """Device (changes no result)"""

    devices: Count = 1
    """number of devices to train on (one process each); norms see their own share of a batch"""
    capture: bool = True
    """on an NVIDIA or AMD GPU, capture the parts of a training step once and replay them: faster,
    for some memory"""
    nodes: Count = 1
    """number of machines to train on, with --devices each; torchrun or srun starts the command"""

    @property
    def processes(self) -> int:
        """That train together, on all machines."""
        return self.devices * self.nodes


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Data"""

    data: str = "digits"
    """digits, mnist, fashion_mnist, cifar10, cifar100, an .npz file or an image folder"""
    task: Annotated[str | None, Own("task", "my_task.py:Count")] = None
    """what is learned from an .npz file: your own, as my_task.py:Count (docs/extending.md); null:
    by the type and shape of its targets"""
    image_size: int | None = None
    """height and width in pixels, to which images are resized; null: as stored, 224 for a folder"""
    val_fraction: float = 0.2
    """share of the training images that search scores on"""


@dataclass(frozen=True, kw_only=True)
class SizeSettings:
    """Network"""

    width: int | float | None = None
    """channels, or their multiplier where the family has a fraction; null: the family's own"""
    depth: int | tuple[int, ...] | None = None
    """cells or layers of each stage, as 3 or 1,2,3; null: the family's own"""
    options: dict[str, Any] = field(default_factory=dict)
    """options of the space, as NAME=VALUE or {NAME: [VALUE, VALUE]}"""


@dataclass(frozen=True, kw_only=True)
class NetworkSettings(SizeSettings):
    """Network"""

    space: str = "nb201"
    """search space: FAMILIES, or your own: my_space.py, package.my_space"""
    start: str | None = None
    """run folder whose trained supernet gives the initial weights"""


@dataclass(frozen=True, kw_only=True)
class MovedDataSettings:
    """Data"""

    data: str | None = None
    """where the data of the run lies now, if it was moved; it has to be the same data"""


# -- train_supernet.py -------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class TrainSettings(
    ReportSettings,
    TrustSettings,
    DevicesSettings,
    TrainingSettings,
    StrategySettings,
    NetworkSettings,
    DataSettings,
):
    """Run folder"""

    thumbnails: Annotated[int, AtLeast(0)] = 64
    """small training images that the run folder keeps for a report; 0: none"""
    search: dict[str, Any] = field(default_factory=dict)
    """defaults of search.py for this run, as in a recipe: {trials: 100}"""
    retrain: dict[str, Any] = field(default_factory=dict)
    """defaults of retrain.py for this run"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start is not None and self.init != "random":
            raise UserError(
                f"--start takes the weights of that run: leave out --init {self.init}; --init "
                "random drops the recipe's value"
            )
        if self.rate_powers is not None:
            read(self.rate_powers)
            if self.schedule != "linear":
                raise UserError("--rate-powers are powers of a line: it needs --schedule linear")


# -- search.py ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class OptimiserSettings:
    """Search"""

    trials: Count = 200
    """architectures to score"""
    tag: str = ""
    """name of this search, to make another one in the same run; none: the run's first"""
    seed: Seed = 0
    """random seed"""
    optimiser: Annotated[
        str,
        OneOf(lambda: optimisers),
        Own("optimiser", "my_search.py:Greedy"),
        Alias("optimizer"),
    ] = "lanas"
    """search method: OPTIMISERS, or your own: my_search.py:Greedy (docs/extending.md)"""
    preset: str = "default"
    """default, or of lanas paper: the settings of its publication"""
    optimiser_settings: dict[str, Any] = field(default_factory=dict)
    """settings of the search method beside its preset, as initial=15,exploration=0.2
    (docs/commands.md)"""
    objective: tuple[str, ...] = ()
    """accuracy, macs, params, memory, latency or energy; twice for a Pareto front; none:
    accuracy"""


@dataclass(frozen=True, kw_only=True)
class BudgetSettings:
    """Budgets"""

    max_macs: Annotated[float | None, Amount()] = None
    """largest number of multiply-accumulates, such as 40M"""
    max_params: Annotated[float | None, Amount()] = None
    """largest number of parameters, such as 300k"""
    max_latency: Annotated[float | None, Amount("ms")] = None
    """largest latency on this device, in ms or such as '4 ms'"""
    max_energy: Annotated[float | None, Amount("mJ")] = None
    """largest energy of a forward pass, in mJ or such as '12 mJ', where this device tells it"""
    max_memory: Annotated[float | None, Amount("bytes")] = None
    """largest peak of activation memory for one image in float32, such as '2 MB'"""
    latency_engine: Literal["onnxruntime", "onnxruntime-cuda", "torch-compile"] | None = None
    """what runs the networks that are timed: onnxruntime (null) on the processor,
    onnxruntime-cuda, or torch-compile on --device"""
    latency_batch: Count = 1
    """images in a forward pass whose latency or energy is measured"""
    latency_archs: Count | None = None
    """networks that are timed to predict all others; null: 1.5 for each column of the encoding,
    at least 100"""
    latency_table: str | None = None
    """CSV file of another device's times in place of measurements on this one (docs/latency.md)"""
    inexact_budget: bool = False
    """keep a budget on a latency or energy whose predictions are off by more than 25 percent"""


@dataclass(frozen=True, kw_only=True)
class ScoringSettings:
    """Scoring"""

    calibration_images: Annotated[int, AtLeast(0)] = 1024
    """training images that re-estimate batch norm for each architecture; 0 keeps it"""
    size_prior: Annotated[float | None, AtLeast(0, below=100)] = None
    """percent of the error that each doubling of the MACs takes off (docs/results.md)"""
    split: str = "val"
    """images that are scored; test is refused"""
    score: Annotated[str | None, Own("score", "my_score.py:frugal")] = None
    """what is maximised: accuracy (null); soft, the probability of the right class at temperature
    0.5; your own: my_score.py:frugal (docs/extending.md); a JSON file of a score, as corrected.json
    of --check; with --table a column, score where null"""


@dataclass(frozen=True, kw_only=True)
class CheckSettings:
    """Checks (architectures trained alone, to judge the scores)"""

    check: Annotated[int | None, AtLeast(1)] = None
    """architectures to train alone, a third random, a third spread over the scores, a third of the
    best; 8 or more give a verdict; null: none, beside those that were trained before"""
    check_epochs: Annotated[int | None, AtLeast(1)] = None
    """epochs of a check; null: a quarter of retrain.py's in this run"""
    check_seeds: Repeats = 1
    """trainings of each of them, with seeds one apart; 2 or more tell what noise leaves"""


@dataclass(frozen=True, kw_only=True)
class TableSettings:
    """Table of known results (in place of a supernet)"""

    table: str | None = None
    """npz or CSV file of a complete table"""
    space: str = "nb201"
    """search space of --table: FAMILIES, or a file"""
    cost: tuple[str, ...] = ()
    """cost of --table, as NAME=COLUMN; may be repeated"""


@dataclass(frozen=True, kw_only=True)
class SearchSettings(
    ReportSettings,
    TrustSettings,
    WorkersSettings,
    DeviceSettings,
    MovedDataSettings,
    TableSettings,
    CheckSettings,
    ScoringSettings,
    BudgetSettings,
    OptimiserSettings,
):
    """Search"""

    parallel: Annotated[Count | None, Alias("batch")] = None
    tags: bool = False
    """list the searches of the run: tag, score, budgets, trials, best; and stop"""
    rescore: Annotated[str | None, Own("score", "my_score.py:frugal")] = None
    """rank the trials so far by this score, keep the ranking and evaluate nothing: accuracy, soft,
    another measurement, your own, or a JSON file of a score; goes with --size-prior and --tag"""


# -- retrain.py --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ArchitectureSettings:
    """Architecture"""

    arch: str = "best"
    """best, top:K, random:K, a trial's number, or an architecture in words"""
    inherit: bool = False
    """start from the supernet's weights"""
    search_tag: str = ""
    """tag of the search whose trials --arch names"""
    score: Annotated[str | None, Own("score", "my_score.py:frugal")] = None
    """score by which best and top:K are ranked: accuracy, soft, a ranking that search.py --rescore
    kept, your own, or a JSON file of a score; null: that of the search, or the one that its checks
    have corrected"""
    tag: str = ""
    """text added to the folder's name, to keep another training"""
    race: bool = False
    """let the architectures of --arch race and retrain the winner alone: each rung keeps the better
    half on val and trains it twice as long"""
    beside: str | None = None
    """random:K: a second race of K random networks within the search's budgets, whose winner is
    retrained as well; only where those are of MACs or parameters"""


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """Files (what is handed over)"""

    export: tuple[str, ...] = ()
    """forms beside safetensors, as onnx,int8: onnx, pt2, timm, fp16, int8, executorch; none: onnx,
    pt2, and timm where the family is one of timm's"""
    opset: int | None = None
    """version of ONNX's operators, 18 to 23; null: the exporter's own"""
    onnx_input: Literal["float", "nchw", "nhwc"] | None = None
    """images that the ONNX files take: float32 in 0..1, or bytes of either layout; null: float"""
    free_size: bool | None = None
    """ONNX files and model.pt2 take images of any height and width, where the network does"""


@dataclass(frozen=True, kw_only=True)
class RetrainSettings(
    ReportSettings,
    TrustSettings,
    WorkersSettings,
    DevicesSettings,
    MovedDataSettings,
    TrainingSettings,
    ExportSettings,
    ArchitectureSettings,
):
    """Training"""

    epochs: Count = 100
    seeds: Repeats = 1
    """trainings of each network, seeds one apart, each in a folder of its own; result.json of the
    first says mean and deviation"""
    drop_path: Annotated[float, AtLeast(0, below=1)] = 0.0
    """share of samples in which a path is dropped, at the end; it rises from 0; not for nb201"""
    auxiliary: bool = False
    """train a second classifier behind an earlier cell too; it is not handed over"""


# -- words that help fills in ------------------------------------------------------------------


def named(text: str) -> str:
    """A line of help with the names of families and optimisers in it."""
    if "FAMILIES" in text:
        return text.replace("FAMILIES", ", ".join(spaces.names()))
    if "OPTIMISERS" in text:
        return text.replace("OPTIMISERS", ", ".join(optimisers))
    return text


def identity(settings: Any, *apart: str) -> dict[str, Any]:
    """What makes a run the run that it is: all but `apart` and where it runs, as data.

    A run that was begun before a setting was there is taken to have its default (`supernet.kept`):
    let that be what was done before.
    """
    kinds = (DevicesSettings, WorkersSettings, TrustSettings, ReportSettings)
    left_out = {f.name for kind in kinds for f in fields(kind)}
    left_out |= set(apart)
    return {
        f.name: list(value) if isinstance(value := getattr(settings, f.name), tuple) else value
        for f in fields(settings)
        if f.name not in left_out
    }


SECTIONS: Mapping[str, type] = {"search": SearchSettings, "retrain": RetrainSettings}


def checked_sections(found: Mapping[str, Any], where: str = "{}") -> dict[str, Any]:
    """Settings whose `search` and `retrain` are checked as well."""
    return {
        name: checked_section(name, value, f"{where.format(name)}: {{}}")
        if name in SECTIONS and isinstance(value, Mapping)
        else value
        for name, value in found.items()
    }


def checked_section(name: str, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The settings of a recipe for another script, checked.

    UserError also for `trust` and `report`, and for a table to search: a run folder that was
    received must not say, unseen, which file of Python is run as the space of a table.
    """
    kinds = (TrustSettings, ReportSettings, *([TableSettings] if name == "search" else []))
    apart = {f.name for kind in kinds for f in fields(kind)}
    if there := sorted(apart & values.keys()):
        what = where.format(there[0])
        raise UserError(f"{what}: a recipe has none; give it to {name}.py itself")
    return given(SECTIONS[name], values, where)
