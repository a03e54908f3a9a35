"""Latency out of a CSV file: read right, also as a spreadsheet writes it, or refused."""

from pathlib import Path

import numpy as np
import pytest

from lanas.costs import Cost
from lanas.errors import UserError
from lanas.space import Choice, Space
from supernet.score.latency.clock import Clock
from supernet.score.latency.table import Timed, read_table

SPACE = Space("two", (Choice("a", ("x", "y")), Choice("b", ("p", "q", "r"))))
TABLE = "choice,option,ms\nbase,,1\na,x,0\na,y,0.5\nb,p,0\nb,q,2\nb,r,3.25\n"
GERMAN = TABLE.replace(",", ";").replace(".", ",").replace("\n", "\r\n")
HEAD = "file,round,ms,ns,batch,threads,engine,device,space\n"
ROW = "{},{},{},{},1,2,onnxruntime 1.32.0 CPUExecutionProvider,Cortex A76,abc\n"
TIMED = HEAD + "".join(
    ROW.format(f"{i}-{j}.onnx", number, f"{ms:.6f}", round(1e6 * ms))
    for number in range(2)
    for i in range(2)
    for j in range(3)
    for ms in [1.25 + i + 2 * j + number]
)


def read(path: Path, text: str | bytes) -> Cost | Timed:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(path, SPACE, "abc")


@pytest.mark.parametrize(
    "text",
    [
        TABLE,
        TABLE.encode("utf-8-sig"),
        TABLE.encode("utf-16"),
        TABLE.replace("\n", "\r\n"),
        GERMAN,
        GERMAN.encode("utf-8-sig"),
        "sep=;\r\n" + GERMAN,
        GERMAN.replace(";", "\t"),
        TABLE.replace("0.5", "5E-1").replace("a,x", '"a","x"'),
        TABLE.replace("0.5", "  0.5 ").replace("\n", ",,\n"),
        TABLE + "\n\n",
        "ms,option,choice\n1,,base\n0,x,a\n0.5,y,a\n0,p,b\n2,q,b\n3.25,r,b\n",
        TABLE.replace("choice,option,ms", "Choice,OPTION,ms"),
        TABLE.replace(",", ";"),
    ],
)
def test_a_table_of_options_is_read_as_it_is_meant(tmp_path: Path, text: str | bytes) -> None:
    cost = read(tmp_path / "t.csv", text)
    assert isinstance(cost, Cost)
    assert cost(SPACE, [(0, 0), (1, 1), (1, 2)]).tolist() == [1, 3.5, 4.75]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TABLE.replace("a,y,0.5\n", ""), r"lacks choice 'a', option 'y' \(1 such\)"),
        (TABLE + "c,x,1\n", "has choice 'c', option 'x'"),
        (TABLE.replace("base,,1\n", ""), "lacks the line base,,MS"),
        (TABLE + "a,x,7\n", "line 8: a,x is there twice"),
        (TABLE + "base,,7\n", "line 8: base, is there twice"),
        (TABLE.replace("0.5", "fast"), "line 4: ms is 'fast', needed is a number"),
        (TABLE.replace("0.5", "nan"), "line 4: ms is 'nan'"),
        (TABLE.replace("0.5", "inf"), "line 4: ms is 'inf'"),
        (TABLE.replace("0.5", "1e999"), "line 4: ms is 1e999"),
        (TABLE.replace("0.5", "-0.5"), "line 4: ms is -0.5, needed is a time of 0 or more"),
        (TABLE.replace("0.5", ""), "line 4: ms is ''"),
        (TABLE.replace("0.5", "0_5"), "line 4: ms is '0_5'"),
        (TABLE.replace("0.5", "0x1"), "line 4: ms is '0x1'"),
        (TABLE.replace("0.5", '"0,5"'), "a comma and with a point"),
        (TABLE.replace("0.5", '"0,5"').replace("3.25", "3"), "commas part its columns"),
        (GERMAN.replace("3,25", "1.003,25"), "a comma and with a point"),
        (GERMAN.replace("0,5", "1,500").replace("3,25", "3"), "may be thousands"),
        (TABLE.replace(",", ";").replace("0.5", "1.500").replace("3.25", "3"), "may be thousands"),
        (TABLE.replace("0.5", "03. Mai"), "line 4: ms is '03. Mai'"),
        ("name,ms\nx,1\n", "cannot be read as a CSV of choice,option,ms, nor .* has name, ms"),
        ("", "its first line has nothing"),
        (TABLE.replace("choice,option,ms", "choice,option,ms,ms"), "the column 'ms' twice"),
        (TABLE.replace("a,y,0.5", "a,y"), "line 4 has 2 cells, its first line 3"),
        (TABLE.replace("a,y,0.5", "a,y,0,5"), "line 4 has 4 cells, its first line 3"),
        (TABLE.replace("x", "\xe4").encode("cp1252"), "is not UTF-8; save it as CSV UTF-8"),
        (TABLE.encode() + b"\0\0", "holds zero bytes"),
        (TABLE + '"a', "cannot be read as a CSV"),
    ],
)
def test_a_bad_table_is_one_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        read(tmp_path / "t.csv", text)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_table(tmp_path / "none.csv", SPACE, "abc")


@pytest.mark.parametrize(
    "text",
    [
        TIMED,
        TIMED.encode("utf-8-sig"),
        TIMED.replace(",", ";").replace(".250000", ",25").replace("\n", "\r\n"),
        TIMED.replace("0-1.onnx", '"a=x,b=q"'),
        TIMED.replace("1-2.onnx", "1-2"),
    ],
)
def test_times_of_networks_are_read_and_the_least_round_counts(
    tmp_path: Path, text: str | bytes
) -> None:
    timed = read(tmp_path / "t.csv", text)
    assert isinstance(timed, Timed)
    assert timed.clock == Clock("onnxruntime", "1.32.0 CPUExecutionProvider", "Cortex A76", 2, 1)
    assert np.array_equal(timed.archs, [[i, j] for i in range(2) for j in range(3)])
    assert timed.ms.tolist() == [1.25 + i + 2 * j for i in range(2) for j in range(3)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TIMED.replace(",abc", ",abd"), r"of other networks \(abd, this run has abc\)"),
        (TIMED.replace("A76", "A55", 1), "device is 'Cortex A55' and 'Cortex A76'; a table is of"),
        (TIMED.replace("1.32.0", "1.31.0", 1), "engine is"),
        (TIMED + TIMED.splitlines()[1], "line 14: 0-0.onnx is there twice"),
        (TIMED.replace("1.250000,1250000", "0.000000,0", 1), "ms is 0, no network takes no time"),
        (TIMED.replace("1.250000", "-1.250000", 1), "needed is a time of 0 or more"),
        (TIMED.replace("1.250000", "1250.000", 1), "ms is 1250.000 and ns 1250000, .* not the sam"),
        (TIMED.replace("1250000", "1.25E+06", 1), "a spreadsheet has changed the file"),
        (TIMED.replace("0-0.onnx", "0-9.onnx"), "line 2: architecture .* allowed is 0 to 2"),
        (TIMED.replace("0-0.onnx", "0-0-0.onnx"), "line 2: architecture .* has 3 choices"),
        (TIMED.replace("0-0.onnx", "01. Jan"), "line 2: architecture '01. Jan'"),
        (HEAD, "holds no timing"),
        (TIMED.replace("device", "phone"), "lacks the column device"),
        (TIMED.replace(",1,2,onnx", ",1,two,onnx"), "have to be whole numbers"),
    ],
)
def test_bad_times_of_networks_are_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        read(tmp_path / "t.csv", text)
    assert "\n" not in str(error.value)
