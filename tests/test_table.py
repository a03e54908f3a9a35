"""A table as evaluator: what was written is looked up, and what does not fit is one line."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lanas import LaNAS, Table
from lanas.errors import UserError
from lanas.space import Space, as_tuples
from lanas.trials import Trial
from tests import toys

MIXED = toys.mixed()
ARCHS = MIXED.enumerate()
SCORES = np.random.default_rng(0).normal(size=len(ARCHS))


def write_csv(path: Path, columns: dict[str, list[Any]]) -> Path:
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def write(path: Path, form: str) -> Path:
    """All of MIXED in one of the forms that a table may have."""
    if form == "npz":
        np.savez(path / "t.npz", ops=ARCHS.astype(np.uint8), score=SCORES, macs=ARCHS.sum(axis=1))
        return path / "t.npz"
    columns: dict[str, list[Any]] = {"score": SCORES.tolist(), "macs": ARCHS.sum(axis=1).tolist()}
    if form == "npz words":
        words = np.array([MIXED.words(arch) for arch in ARCHS.tolist()])
        np.savez(path / "t.npz", arch=words, **columns)  # type: ignore[arg-type]
        return path / "t.npz"
    if form == "words":
        columns["arch"] = [MIXED.words(arch) for arch in ARCHS.tolist()]
    elif form == "indices":
        columns["ops"] = ["-".join(map(str, arch)) for arch in ARCHS.tolist()]
    else:
        active = MIXED.active(ARCHS)
        for i, choice in enumerate(MIXED.choices):
            column = ARCHS[:, i].tolist()
            if form == "columns of words":
                column = [choice.options[o] for o in column]
                column = [o if on else "" for o, on in zip(column, active[:, i], strict=True)]
            columns[choice.name] = column
    return write_csv(path / "t.csv", columns)


@pytest.mark.parametrize(
    "form", ["npz", "npz words", "words", "indices", "columns of words", "columns of indices"]
)
def test_what_was_written_is_looked_up(tmp_path: Path, form: str) -> None:
    table = Table.load(write(tmp_path, form), MIXED)
    trials = list(table(as_tuples(ARCHS)))
    assert [trial.arch for trial in trials] == as_tuples(ARCHS)
    assert [trial.measured["score"] for trial in trials] == SCORES.tolist()
    assert [trial.measured["macs"] for trial in trials] == [float(a.sum()) for a in ARCHS]


def test_a_search_of_it_is_the_search_of_its_scores(tmp_path: Path) -> None:
    table = Table.load(write(tmp_path, "npz"), MIXED)
    scores = dict(zip(as_tuples(ARCHS), SCORES.tolist(), strict=True))
    plain, looked_up = LaNAS(MIXED, seed=1), LaNAS(MIXED, seed=1)
    asked = toys.search(plain, scores, 30, batch=3)
    for _ in range(10):
        looked_up.tell(list(table(looked_up.ask(3))))
    assert as_tuples(looked_up.history.archs) == asked


def test_a_network_is_looked_up_in_its_own_row_else_in_one_of_the_same_network(
    tmp_path: Path,
) -> None:
    space = Space("pair", MIXED.choices[-2:], lambda archs: np.sort(archs, axis=1) % [2, 4])
    np.savez(tmp_path / "t.npz", ops=[[1, 0], [0, 1], [1, 1]], score=[1.0, 2.0, 3.0])
    assert [
        t.measured["score"] for t in Table.load(tmp_path / "t.npz", space)([(0, 1), (1, 0)])
    ] == [2, 2]
    np.savez(tmp_path / "t.npz", ops=[[1, 0], [1, 1]], score=[1.0, 3.0])
    table = Table.load(tmp_path / "t.npz", space)
    assert [t.measured["score"] for t in table([(0, 1), (1, 0)])] == [1, 1]
    assert list(table([(0, 0)])) == [Trial((0, 0), error="not in the table")]


def test_missing_scores_and_costs(tmp_path: Path) -> None:
    space = toys.plain(1, 4)
    path = write_csv(
        tmp_path / "t.csv",
        {"choice0": [0, 1, 2], "score": ["nan", "", "7"], "latency": ["3", "4", ""]},
    )
    table = Table.load(path, space)
    none = "score is nan in the table"
    assert list(table([(0,), (1,), (2,), (3,)])) == [
        Trial((0,), {"latency": 3.0}, error=none),
        Trial((1,), {"latency": 4.0}, error=none),
        Trial((2,), {"score": 7.0}),
        Trial((3,), error="not in the table"),
    ]
    archs = space.as_array([0, 1, 2, 3])
    assert table.within("latency", 3.0)(archs).tolist() == [True, False, False, False]


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ({"ops": [[0, 0]], "x": [1.0]}, {}, "no column 'score'; there are ops, x"),
        ({"score": [1.0]}, {}, "no column 'ops or arch or architecture', nor one for each of"),
        ({"ops": [[0, 0]], "score": [1.0]}, {"arch": "cell"}, "no column 'cell'"),
        ({"ops": [[0, 0]], "score": [1.0]}, {"costs": {"a": "b"}}, "no column 'b'"),
        ({"ops": [[0, 0, 0]], "score": [1.0]}, {}, r"integers \[rows, 2\]"),
        ({"ops": [[0.0, 0.5]], "score": [1.0]}, {}, r"ops is float64 \[1, 2\]"),
        ({"ops": [[0, 4]], "score": [1.0]}, {}, "row 0 .* has choice1 4; .* allows 0 to 3"),
        ({"ops": [[0, -1]], "score": [1.0]}, {}, "row 0 .* has choice1 -1"),
        ({"ops": [[0, 1], [0, 1]], "score": [1, 2]}, {}, "rows 0 and 1 .* are both choice0=a"),
        ({"ops": [[0, 1], [0, 2]], "score": [1]}, {}, "score has 1 rows, there are 2"),
        ({"ops": np.zeros((0, 2), int), "score": []}, {}, "has no rows"),
        ({"ops": [[0, 1]], "score": ["good"]}, {}, "score is not all numbers: .*good"),
        ({"ops": [[0, 1]], "score": [[1.0, 2.0]]}, {}, "score:0"),
        ({"ops": [[0, 1]], "score": [[1.0, 2.0]]}, {"score": "score:2"}, "it has 0, 1"),
        ({"arch": ["choice0=z"], "score": [1.0]}, {}, "choice0 cannot be 'z'"),
        ({"choice0": ["z"], "choice1": ["a"], "score": [1]}, {}, "choice0 is 'z'; it is one of a"),
    ],
)
def test_what_does_not_fit_is_one_line(
    tmp_path: Path, arrays: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    np.savez(tmp_path / "t.npz", **arrays)
    with pytest.raises(UserError, match=message) as caught:
        Table.load(tmp_path / "t.npz", toys.plain(2, 4), **options)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "t.npz") in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.npz", None, "t.npz cannot be read: No such file"),
        ("t.csv", None, "t.csv cannot be read as csv: No such file"),
        ("t.npz", b"PK\x03\x04 torn", "cannot be read as npz: "),
        ("t.npz", b"plain text", "cannot be read as npz: "),
        ("t.npz", b"", "cannot be read as npz: "),
        ("t.csv", b"", "names the columns, each once"),
        ("t.csv", b"score,score\n1,2\n", "names the columns, each once"),
        ("t.csv", b"choice0,choice1,score\na,b,1\na,b\n", "row 1 .* has 2 fields, the header 3"),
        ("t.csv", b"\xff\xfe\x00", "cannot be read as csv: "),
    ],
)
def test_files_that_are_none(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        Table.load(tmp_path / name, toys.plain(2, 4))
    assert "\n" not in str(caught.value)


def test_pickles_are_never_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", ops=np.array([[0, 1]], dtype=object), score=[1.0])
    with pytest.raises(UserError, match=r"cannot be read as npz: .*Python objects"):
        Table.load(tmp_path / "t.npz", toys.plain(2, 4))


def test_the_published_tables() -> None:
    if not toys.DATA.is_dir():
        pytest.skip(f"no benchmark tables: {toys.DATA} is missing")
    from supernet.spaces import macro, nb201  # imports torch

    table = Table.load(
        toys.DATA / "nasbench201_cifar10.npz",
        nb201.space(),
        score="cifar10_test_200",
        costs={"macs": "macs", "params": "params", "latency": "latency_ms:raspi4"},
    )
    (best,) = table([(3, 3, 3, 1, 3, 2)])
    assert best.measured["score"] == pytest.approx(94.373, abs=5e-4)
    assert best.measured["macs"] == 153_272_960
    assert table.rows(nb201.space().enumerate()).min() >= 0
    table = Table.load(toys.DATA / "nasbench_macro_cifar10.npz", macro.space(), score="test_acc:2")
    (first,) = table([(0,) * 8])
    assert first.measured["score"] == pytest.approx(45.44, abs=1e-4)
    assert first.measured["params"] == 387882.0
