"""A setting means the same on the command line, in a recipe and in Python."""

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import torch

import retrain
import search
import train_supernet
from lanas.errors import UserError
from supernet.cli.parsing import parse, read_recipe
from supernet.cli.settings import RetrainSettings, SearchSettings, TrainSettings
from supernet.settings import Amount, AtLeast, given, make, settings_of

ROOT = Path(__file__).parents[1]
SCRIPTS: dict[Any, type] = {
    train_supernet: TrainSettings,
    search: SearchSettings,
    retrain: RetrainSettings,
}
# A text for each setting whose type alone does not say one.
TEXTS = {
    "options": "{sizes: [3, 5]}",
    "search": "{trials: 7}",
    "retrain": "{epochs: 7}",
    "optimiser": "random",
    "strategy": "fair",
    "opt_betas": "0.5,0.9",
    "optimiser_settings": "initial=15,exploration=0.3",
}


def typed(monkeypatch: pytest.MonkeyPatch, script: Any, *argv: object) -> dict[str, Any]:
    """What a script takes from its command line."""
    monkeypatch.setattr(sys, "argv", [script.__name__, "run", *map(str, argv)])
    return parse(script.arguments(), SCRIPTS[script], "run").given


def text_of(name: str, kinds: tuple[Any, ...], metavar: str) -> str:
    """A text that a setting takes, other than its default where it is a number."""
    if name in TEXTS:
        return TEXTS[name]
    if "|" in metavar:
        return metavar.split("|")[-1]
    return {bool: "true", int: "3", float: "0.5"}.get(kinds[0], "007")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_both_doors_give_the_same(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every setting of a script, by the same text; and Python's value is taken as it is."""
    actions = {action.dest: action for action in script.arguments()._actions}
    recipe = tmp_path / "recipe.yaml"
    for name, setting in settings_of(SCRIPTS[script]).items():
        if name == "trust":  # no recipe has it: tests/test_trust.py
            continue
        text = text_of(name, setting.kinds, actions[name].metavar or "")
        flag = "--" + name.replace("_", "-")
        argv = [flag] if setting.kinds == (bool,) else [flag, text]
        by_flag = typed(monkeypatch, script, *argv)
        recipe.write_text(f"{name}: {text}\n")
        by_recipe = read_recipe(recipe, SCRIPTS[script])
        assert by_flag == by_recipe and by_flag.keys() == {name}, name
        assert type(by_flag[name]) is type(by_recipe[name])
        assert given(SCRIPTS[script], by_flag) == by_flag, name


@pytest.mark.parametrize(
    ("recipe", "value"),
    [
        ("device: 0", "0"),
        ("precision: 32", "32"),
        ("flip: yes", True),
        ("flip: null", None),
        ("sampling_weights: ~", None),
        ("lr: 1e-3", 0.001),
        ("epochs: 3.0", None),
        ("depth: [1, 2, 3]", (1, 2, 3)),
        ("depth: 2", 2),
        ("space: no", "no"),
        ("data: 2026-11-26", "2026-11-26"),
        ("data: a[b]{c}: *x", None),
        ("data: 'a[b]{c}: *x'", "a[b]{c}: *x"),
        ("options: {kernels: [3, 5], wide: yes, name: '7'}", "options"),
        ("search: {objective: latency}", {"objective": ("latency",)}),
        ("search: {max_macs: 40M, optimizer: random}", {"max_macs": 4e7, "optimiser": "random"}),
        ("retrain: {arch: 1, tag: 007}", {"arch": "1", "tag": "007"}),
        ("retrain: {inherit: on}", {"inherit": True}),
        ("retrain: {export: ~}", {"export": ()}),
        ("search: {objective: null}", {"objective": ()}),
    ],
)
def test_a_recipe_is_read_as_it_is_written(tmp_path: Path, recipe: str, value: Any) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(recipe)
    name = recipe.partition(":")[0]
    if value is None and "null" not in recipe and "~" not in recipe:
        with pytest.raises(UserError, match=r"recipe\.yaml"):
            read_recipe(file, TrainSettings)
        return
    if name == "options":
        value = {"kernels": [3, 5], "wide": True, "name": "7"}
    found = read_recipe(file, TrainSettings)[name]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("script", "flag"), [(search, "objective"), (search, "cost"), (retrain, "export")]
)
def test_null_empties_a_list_of_a_recipe(
    script: Any, flag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert typed(monkeypatch, script, f"--{flag}", "null") == {flag: ()}
    assert given(SCRIPTS[script], {flag: None}) == {flag: ()}


def test_a_recipe_saved_on_windows(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_bytes("\ufeffwidth: 4\r\nepochs: 1\r\n# größe\r\n".encode())
    assert read_recipe(file, TrainSettings) == {"width": 4, "epochs": 1}
    file.write_bytes("# größe\r\nwidth: 4\r\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"recipe\.yaml is not UTF-8: .* at byte 4"):
        read_recipe(file, TrainSettings)


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_the_command_line_wins_wherever_the_recipe_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: list[int]
) -> None:
    """Of a section each setting alone; of two recipes the later."""
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("epochs: 5\nwidth: 4\nlr: 0.3\nsearch: {trials: 9, batch: 2}")
    second.write_text("width: 6")
    parts = [
        ["--config", first, "--config", second],
        ["--epochs", 1, "--search.trials", 3, "--search.max-macs", "3M"],
    ]
    found = typed(monkeypatch, train_supernet, *parts[order[0]], *parts[order[1]])
    assert found == {
        "epochs": 1,
        "width": 6,
        "lr": 0.3,
        "search": {"trials": 3, "parallel": 2, "max_macs": 3e6},
    }


@dataclass(frozen=True, kw_only=True)
class Small:
    """Small"""

    macs: Annotated[float | None, Amount()] = None
    latency: Annotated[float | None, Amount("ms")] = None
    memory: Annotated[float | None, Amount("bytes")] = None
    sizes: Annotated[tuple[int, ...], AtLeast(1)] = (1,)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"macs": "40M"}, 4e7),
        ({"macs": "300 k"}, 3e5),
        ({"macs": 1.5e6}, 1.5e6),
        ({"latency": "4 ms"}, 4.0),
        ({"latency": "0.004s"}, 4.0),
        ({"latency": "500us"}, 0.5),
        ({"latency": 2}, 2.0),
        ({"memory": "12 MB"}, 12e6),
        ({"memory": "12MiB"}, 12 * 2.0**20),
        ({"macs": "4 ms"}, None),
        ({"latency": "4 MB"}, None),
        ({"macs": "0"}, None),
        ({"macs": "nan"}, None),
        ({"macs": "-3"}, None),
        ({"macs": True}, None),
        ({"sizes": "[1, 2]"}, (1, 2)),
        ({"sizes": [1, 2]}, (1, 2)),
        ({"sizes": "1,0"}, None),
        ({"sizes": "1,x"}, None),
    ],
)
def test_units_and_lists(values: dict[str, Any], expected: Any) -> None:
    if expected is None:
        with pytest.raises(UserError, match="given, allowed"):
            given(Small, values)
    else:
        assert list(given(Small, values).values()) == [pytest.approx(expected)]


def test_budgets_are_in_milliseconds_and_bytes() -> None:
    """Seconds and megabytes have to say that they are."""
    for latency in (4, "4", "4 ms", "0.004 s"):
        assert given(SearchSettings, {"max_latency": latency}) == {"max_latency": pytest.approx(4)}
    for memory in (12e6, "12 MB", "12000 kB"):
        assert given(SearchSettings, {"max_memory": memory}) == {"max_memory": pytest.approx(12e6)}


@pytest.mark.parametrize(
    ("kind", "values", "says"),
    [
        (TrainSettings, {"epoch": 3}, "epoch: there is no such setting; did you mean epochs?"),
        (TrainSettings, {"epochs": 1.5}, "epochs: 1.5 given, allowed are whole numbers, 1 or"),
        (TrainSettings, {"epochs": True}, "epochs: True given"),
        (TrainSettings, {"epochs": None}, "leave it out for 60"),
        (TrainSettings, {"lr": float("nan")}, "lr: nan given"),
        (TrainSettings, {"data": ["digits"]}, r"data: \['digits'\] given, allowed is text"),
        (TrainSettings, {"options": 3}, "options: 3 given"),
        (SearchSettings, {"optimiser": "luck"}, "optimiser: 'luck' given, allowed is lanas, ran"),
        (SearchSettings, {"objective": [["macs"]]}, "objective"),
        (TrainSettings, {"epochs": np.float32(3.5)}, "epochs: 3.5 given, allowed are whole"),
        (TrainSettings, {"epochs": np.True_}, "epochs: True given"),
        (TrainSettings, {"epochs": Decimal("3.5")}, "epochs: Decimal"),
        (TrainSettings, {"epochs": torch.tensor(3.7)}, "epochs: tensor"),
        (TrainSettings, {"epochs": b"3"}, "epochs: b'3' given"),
        (TrainSettings, {"flip": 10**9000}, "flip: int of very many digits given"),
        (TrainSettings, {"flip": 0}, "flip: 0 given, allowed is true or false"),
        (TrainSettings, {"freeze_scales": [True]}, "freeze_scales: .True. given"),
        (TrainSettings, {"opt_betas": "[0.9,0.98"}, r"opt_betas: '\[0.9,0.98' given"),
        (TrainSettings, {"options": "a=1,b=2,a=3"}, "options: .* each name once"),
        (TrainSettings, {"options": "{a: {b: 1, b: 2}}"}, "options: .* each name once"),
        (TrainSettings, {"seed": 2**63}, "seed: .* given, allowed are whole numbers, 0 or"),
        (TrainSettings, {"threads": 100_000}, "threads: 100000 given, .* 0 to 1024"),
        (TrainSettings, {"weight_decay": 1e300}, "weight_decay: 1e.300 given"),
        (TrainSettings, {"temperature": 1e300}, "temperature: 1e.300 given"),
    ],
)
def test_python_is_checked_by_the_same(kind: type, values: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        given(kind, values)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"epochs": np.int64(3)}, 3),
        ({"lr": np.float32(0.5)}, 0.5),
        ({"flip": np.False_}, False),
        ({"depth": np.array([1, 2])}, (1, 2)),
        ({"precision": np.int64(32)}, "32"),
        ({"width": np.float64(2)}, 2),
        ({"options": {"sizes": np.array([3, 5])}}, {"sizes": [3, 5]}),
    ],
)
def test_numbers_of_numpy_are_pythons(values: dict[str, Any], expected: Any) -> None:
    """They end in a file of JSON, and are cut nowhere."""
    (found,) = given(TrainSettings, values).values()
    assert found == expected and type(found) is type(expected)
    assert json.loads(json.dumps(found)) is not None


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_an_empty_text_is_given_only_where_it_is_the_default(script: Any) -> None:
    """As `--latency-table "$TIMES"` of a variable that is not set: it would count as left out."""
    for name, setting in settings_of(SCRIPTS[script]).items():
        if not {str, tuple[str, ...]} & set(setting.kinds):
            continue
        if setting.default == "":
            assert given(SCRIPTS[script], {name: ""}) == {name: ""}
            continue
        with pytest.raises(UserError, match=f"{name}: ''.* given, allowed"):
            given(SCRIPTS[script], {name: ""})


def test_settings_that_do_not_fit_each_other() -> None:
    with pytest.raises(UserError, match=r"works only with --strategy uniform.* null drops"):
        make(TrainSettings, {"sampling_weights": "a=b:2"}, {"strategy": "fair"})


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_every_setting_has_its_line_of_help(script: Any) -> None:
    """Under a heading; only the hidden ones have none."""
    described = settings_of(SCRIPTS[script], described=True)
    assert all(item.help and item.group for item in described.values())
    for action in script.arguments()._actions:
        assert action.help == argparse.SUPPRESS or not action.dest.startswith("search.")


def test_help_shows_defaults_groups_and_what_is_allowed() -> None:
    command = [sys.executable, "retrain.py", "--help"]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout
    assert "(default: 100)" in out, "its own, not that of the supernet"
    assert "--precision 32|tf32|bf16|fp16" in out
    assert "\nTraining:\n" in out and "\nDevice (changes no result):\n" in out


def test_version() -> None:
    command = [sys.executable, "search.py", "--version"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("lanas ") and "torch " in done.stdout


@pytest.mark.parametrize("recipe", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_recipe_is_one(recipe: Path) -> None:
    """Its settings fit each other too, and its head says the command."""
    found = read_recipe(recipe, TrainSettings)
    make(TrainSettings, found)
    make(SearchSettings, found.get("search", {}))
    make(RetrainSettings, found.get("retrain", {}))
    assert recipe.read_text().startswith("# python train_supernet.py ")
