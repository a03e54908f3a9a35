"""The page without a browser: who writes it and when, what it needs, how it is served."""

import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest

from lanas.errors import AllFailed, UserError
from supernet.report import __main__ as report
from supernet.report import cards, drawing, live, page, scripts, serve, style, summary
from tests import pages
from tests.scripts import SEARCH, answer, refused

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 40 trials; only to be read."""
    return pages.complete(tmp_path_factory.mktemp("written") / "run", trials=40)


def test_of_many_networks_the_files_of_the_found_one_come_first(tmp_path: Path) -> None:
    """Trap: of twelve files that have room none was of the network that the page is about."""
    run = tmp_path / "run"
    pages.trained(run)
    for arch in pages.searched(run, 40, max_macs=5e5)[:14]:
        pages.retrained(run, arch)
    found = summary.read(run)
    best = max(found.networks, key=lambda network: network.arch)  # the last by name
    assert found.found is not None
    about = replace(found, found=replace(found.found, network=best.name))
    files = [link["name"] for link in cards.card(about, 0, run)["files"]]
    assert files[:3] == [f"{best.name}: model.onnx", "supernet", "trials"] and len(files) == 12


def test_an_operation_has_one_colour_in_all_drawings() -> None:
    chains = [
        {"kind": "chain", "stages": [{"width": 8, "blocks": names}]}
        for names in (["skip", "conv5", "conv3"], ["conv3", "conv5"])
    ]
    cell = {"nodes": ["in", "out"], "edges": [["in", "out", "conv5"]]}
    stages = [{"cell": "cell", "repeat": 1, "width": 8}]
    drawings = [*chains, {"kind": "cells", "cells": {"cell": cell}, "stages": stages}]
    known = sorted({name for each in drawings for name in drawing.operations(each)})
    assert known == ["conv3", "conv5", "skip"]
    for each in drawings:
        svg = drawing.network(each, "a network", known) or ""
        found = re.findall(r'<title>(\w+)</title>.*?class="op op(\d)"', svg)
        assert [name for name, _ in found] == drawing.operations(each)
        assert all(known.index(name) + 1 == int(colour) for name, colour in found)


# -- who writes it, and when ---------------------------------------------------------------------


def test_a_process_that_never_imports_torch_writes_it(retrained: Path, tmp_path: Path) -> None:
    code = "import sys; from supernet.report import page; page.write(sys.argv[1:2], sys.argv[2]); "
    code += "print([name for name in ('torch', 'timm', 'lightning') if name in sys.modules])"
    out = tmp_path / "page.html"
    command = [sys.executable, "-c", code, str(retrained), str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
    assert "accuracy" in out.read_text()


@contextmanager
def begun(*, fails: bool = False) -> Iterator[list[Path]]:
    """The runs whose page a process would be begun for; it ends at once."""
    found: list[Path] = []

    def begin(run: Path) -> "subprocess.Popen[str]":
        found.append(run)
        code = "import sys; sys.exit('broken')" if fails else ""
        pipe = subprocess.PIPE
        return subprocess.Popen([sys.executable, "-c", code], stdout=pipe, stderr=pipe, text=True)

    with patch.object(live, "begin", begin):
        yield found


def test_the_last_line_of_a_script_is_where_the_page_lies(run: Path) -> None:
    """Which a process has written by then."""
    done = answer("search", run, *SEARCH, report=True)
    assert done.status == 0, done.err
    assert done.out.splitlines()[-1] == f"report: {run / 'report.html'}"
    assert (run / "report.html").read_text().startswith("<!doctype html>")


def test_with_no_report_and_for_json_there_is_no_such_line(run: Path) -> None:
    with begun() as found:
        done = answer("search", run, *SEARCH, "--no-report", report=True)
        assert "report:" not in done.out and not found
        done = answer("search", run, *SEARCH, "--json", report=True)
        assert found == [run] and "report:" in done.err and done.out.startswith("{")


def test_a_refused_command_writes_none(run: Path) -> None:
    with begun() as found:
        refused("search", run, "--trials", "none", says=("trials",), untouched=run)
    assert not found


def test_what_fails_is_a_line_and_the_script_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with begun(fails=True), live.page(tmp_path):
        pass
    assert capsys.readouterr().out == "no report: broken\n"
    lacking = UserError("no page: altair is not installed; pip install 'lanas[report]' brings it")
    with patch.object(scripts, "versions", side_effect=lacking), begun() as found:
        with live.page(tmp_path):
            pass
    assert capsys.readouterr().out == f"{lacking}\n" and not found


def test_it_is_rewritten_while_a_script_runs_and_when_all_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with begun() as found, patch.object(live, "EVERY", 0.01), live.page(tmp_path):
        while not found:
            threading.Event().wait(0.01)
    with begun() as found, pytest.raises(AllFailed), live.page(tmp_path):
        raise AllFailed("all failed")
    assert found == [tmp_path]
    with begun() as found, pytest.raises(UserError), live.page(tmp_path):
        raise UserError("refused")
    assert not found


def test_several_runs_need_a_place(small: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--out"):
        page.write([small, small])
    with pytest.raises(UserError, match="no run folder"):
        page.write([tmp_path / "none"])
    with pytest.raises(UserError, match="no search of tag"):
        page.write([small], tags=["unknown"])


# -- what is kept between pages --------------------------------------------------------------------


def test_a_broken_file_of_the_cache_is_made_anew(cache: Path) -> None:
    first = scripts.compiled("importance")
    for file in (cache / "page").iterdir():
        if file.stat().st_size < 100_000:
            file.write_text("{}\nbroken")
    assert scripts.compiled("importance") == first


# -- served ---------------------------------------------------------------------------------------


@contextmanager
def served(run: Path, host: str = "127.0.0.1", token: str | None = None) -> Iterator[str]:
    server, address = serve.server(serve.Pages([str(run)]), host, 0, token)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield address.replace("0.0.0.0", "127.0.0.1")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def status(address: str, **headers: str) -> int:
    try:
        request = urllib.request.Request(address, headers=headers)
        with urllib.request.urlopen(request) as found:
            return int(found.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_it_serves_the_page_and_nothing_else(small: Path) -> None:
    with served(small) as address:
        with urllib.request.urlopen(address) as found:
            text, mark = found.read().decode(), found.headers["ETag"]
        assert "connect-src &#39;self&#39;" in text and mark
        for path in ("config.json", "../", "search/trials.jsonl", "report.html"):
            assert status(address + path) == 404
        assert status(address, Host="elsewhere.example") == 403


def test_a_browser_learns_that_the_run_has_gone_on(tmp_path: Path) -> None:
    pages.trained(tmp_path / "run")
    with patch.object(serve, "EVERY", 0.0):
        kept = serve.Pages([str(tmp_path / "run")])
        first = kept.get()
        assert kept.get() == first
        pages.searched(tmp_path / "run", 3)
        text, mark = kept.get()
    assert mark != first[1] and mark in text.decode().replace("\\", "").replace("&#34;", '"')


def test_elsewhere_than_here_it_asks_for_a_token(small: Path) -> None:
    with served(small, "0.0.0.0") as address:
        assert re.search(r"\?token=.{16,}", address)
        assert status(address) == 200
        assert status(address.partition("?")[0]) == 403
        assert status(address[:-1]) == 403
    with served(small, token="a b&c=%") as address:
        assert (status(address), status(address.partition("?")[0])) == (200, 403)


@pytest.mark.parametrize("flags", ["--json --verdict", "--format md --serve", "--verdict --out x"])
def test_of_flags_that_exclude_each_other_none_is_ignored(small: Path, flags: str) -> None:
    with pytest.raises(UserError, match="give one of them"):
        asked(small, flags)
    with pytest.raises(UserError, match="only with --serve"):
        asked(small, "--port 0")


def test_ctrl_c_ends_the_serving_in_one_line(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stop = patch.object(serve, "run", side_effect=KeyboardInterrupt)
    with stop, pytest.raises(SystemExit, match="130"):
        asked(small, "--serve")
    assert capsys.readouterr().err == "\nno longer served\n"


def asked(run: Path, flags: str) -> None:
    with patch.object(sys, "argv", ["supernet.report", str(run), *flags.split()]):
        report.main()


# -- colours --------------------------------------------------------------------------------------


def light(colour: str) -> float:
    """The relative luminance of WCAG 2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    high, low = sorted([light(a), light(b)], reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", style.THEMES)
def test_marks_stand_out_from_the_ground_and_texts_can_be_read(theme: str) -> None:
    """WCAG 2.1: 3 to 1 for graphics, 4.5 to 1 for texts."""
    colours = style.THEMES[theme]
    paper = colours[style.PAPER]
    assert min(contrast(colours[name], paper) for name in style.SERIES) >= 3
    assert min(contrast(colours[name], paper) for name in (style.INK, style.SOFT)) >= 4.5
    assert contrast(colours[style.ACCENT], paper) >= 4.5  # of links
    assert len(set(colours.values())) == len(colours)
