"""Markdown and JSON of the report and the scripts: one document, nothing else, keys that stay."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lanas.errors import UserError
from supernet.cli.answers import aside, print_report
from supernet.cli.main import main as ending
from supernet.predict import main as predict_main
from supernet.report import summary
from supernet.report.__main__ import main as report_main
from supernet.report.data import document
from supernet.report.text import code, escaped, markdown
from supernet.runs import main as runs_main
from supernet.score.latency.__main__ import main as plan_main
from tests import pages
from tests.scripts import RETRAIN, SEARCH, TINY, answer, refused, tree

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")


def told(script: str, *argv: object) -> tuple[dict[str, Any], str]:
    """The document that a script prints with --json, and what it says beside it."""
    done = answer(script, *argv, "--json")
    assert done.status == 0, done.err
    found = json.loads(done.out)
    assert found["format"] == 1
    return found, done.err


def keys(heading: str) -> set[str]:
    """The keys that a table of docs/json.md lists."""
    part = PAGE.partition(f"### {heading}\n")[2].partition("\n#")[0]
    rows = re.findall(r"^\| (`[^|]*) \|", part, flags=re.MULTILINE)
    return {key for row in rows for key in re.findall(r"`(\w+)`", row)}


# -- the scripts -----------------------------------------------------------------------------------


def test_scripts_print_the_report_and_nothing_else(retrained: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(retrained, tmp_path / "run"))
    new, said = told("train_supernet", tmp_path / "new", *TINY)
    assert new["runs"][0]["state"] == "trained" and "3 epochs" in said
    searched, _ = told("search", run, *SEARCH)
    again, said = told("retrain", run, *RETRAIN)
    assert (
        again["runs"] == searched["runs"] == json.loads(json.dumps([document(summary.read(run))]))
    )
    assert again["runs"][0]["state"] == "retrained" and again["runs"][0]["found"]["value"] > 0
    done = answer("retrain", run, *RETRAIN, "--format", "md")
    assert done.out == markdown(summary.read(run)) + "\n"


def test_what_evaluates_nothing_is_told_as_json_too(run: Path) -> None:
    left, _ = told("search", run, "--trials", 20, "--threads", 1, "--estimate")
    assert left["estimate"]["seconds"] > 0 and left["estimate"]["memory"]["host"] >= 0
    listed, said = told("search", run, "--tags")
    assert said == "" and [row["tag"] for row in listed["searches"]] == [""]
    assert listed["searches"][0]["best"]["score"] > 0
    ranked, _ = told("search", run, "--rescore", "soft")
    assert ranked == {
        "format": 1,
        "run": str(run),
        "next": ranked["next"],
        "file": ranked["file"],
        **json.loads(Path(ranked["file"]).read_text()),
    }
    table = answer("search", run, "--tags", "--format", "md").out.splitlines()
    assert table[0].startswith("| tag |") and len(table) == 4  # fmt: skip


@pytest.mark.parametrize(
    ("main", "argv", "says"),
    [
        (report_main, [], "required: RUN"),
        (report_main, ["run", "--port", "many"], "--port: invalid int value: 'many'"),
        (report_main, ["run", "--out", ""], "--out ''"),
        (runs_main, ["runs", "--jason"], "unrecognized arguments: --jason"),
        (plan_main, ["plan", "run"], "required: --out"),
        (plan_main, ["time"], "invalid choice: 'time'"),
        (predict_main, ["folder"], "required: photos"),
    ],
)
def test_a_wrong_command_line_is_one_line(
    main: Callable[[], None],
    argv: list[str],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["command", *argv])
    with pytest.raises(SystemExit) as ended:
        ending(main)
    said = capsys.readouterr()
    assert ended.value.code == 2 and said.out == ""
    assert said.err.startswith("command: error: ") and said.err.count("\n") == 1
    assert says in said.err


def test_a_failure_leaves_standard_output_empty(run: Path) -> None:
    for forms, says in (
        (("--json", "--trials", "many"), "many"),
        (("--json", "--format", "md"), "--json and --format md"),
        (("--format", "yaml"), "text, md, json"),
    ):
        refused("search", run, *forms, says=(says,), untouched=run)
        assert answer("search", run, *forms).out == ""


def test_what_processes_and_libraries_print_is_aside_too(capfd: pytest.CaptureFixture[str]) -> None:
    with aside("json"):
        print("said", flush=True)
        os.write(1, b"by a library\n")
        subprocess.run(["echo", "by a process"], check=True)
    print("the document")
    out, err = capfd.readouterr()
    assert out == "the document\n"
    assert err == "said\nby a library\nby a process\n"


# -- the document ----------------------------------------------------------------------------------


def test_the_page_lists_every_key(retrained: Path) -> None:
    run = document(summary.read(retrained))
    (search,), (network,) = run["searches"], run["retrained"]
    assert keys("A run") == run.keys()
    assert keys("`verdict`") == run["verdict"].keys()
    assert keys("`found`") == run["found"].keys()
    assert keys("A search") == search.keys()
    assert keys("A retrained network") == network.keys()


def test_every_exit_status_of_the_code_is_in_the_table() -> None:
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    part = text.partition("## Exit statuses")[2].partition("\n## ")[0]
    known = {int(status) for status in re.findall(r"^\| (\d+) \|", part, flags=re.MULTILINE)}
    found = {0, 2}  # the second is the default of supernet.cli.main.end
    for path in [
        *ROOT.glob("*.py"),
        *(ROOT / "lanas").rglob("*.py"),
        *(ROOT / "supernet").rglob("*.py"),
    ]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("sys.exit", "os._exit"):
                found |= {a.value for a in node.args if isinstance(a, ast.Constant)}
            if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "status":
                found |= {node.value.value} if isinstance(node.value, ast.Constant) else set()
    assert known == found


def test_what_cannot_be_read_or_is_not_there_gives_a_document_of_what_is(run: Path) -> None:
    (run / "search" / "trials.jsonl").write_text('{"trial": 0, "arch": [0\n{"trial"')
    (run / "data.json").write_text("[")
    before = tree(run)
    found = document(summary.read(run))
    assert found["searches"][0]["trials"] == 0 and len(found["unread"]) >= 1
    json.dumps(found, allow_nan=False)
    assert "Not readable" in markdown(summary.read(run))
    assert tree(run) == before
    empty = run / "empty"
    empty.mkdir()
    assert document(summary.read(empty))["state"] == "empty"
    assert "empty" in markdown(summary.read(empty))


def test_a_folder_among_the_searches_whose_name_is_no_tag_is_read(run: Path) -> None:
    """As of a copy that somebody keeps there."""
    shutil.copytree(run / "search", run / "search" / "my backup")
    assert [search.tag for search in summary.read(run).searches] == ["", "my backup"]


def test_a_search_that_was_cut_in_its_checks_has_no_verdict_yet(run: Path) -> None:
    arch = summary.read(run).searches[0].trials[0].arch
    plan = {"keys": ["0" * 12], "checks": [{"arch": arch, "part": "random"}]}
    (run / "search" / "checks.json").write_text(json.dumps(plan))
    (run / "checks").mkdir(exist_ok=True)
    line = json.dumps({"arch": arch, "measured": {"accuracy": 0.5}, "seconds": 1.0})
    (run / "checks" / f"{'0' * 12}.jsonl").write_text(line + "\n")
    found = document(summary.read(run))
    assert found["verdict"]["word"] == "none" and "alone 1 are done" in found["verdict"]["sentence"]
    assert [check["alone"] for check in found["searches"][0]["checks"]] == [0.5]


def test_searches_are_picked_by_their_tags(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(run / "search", run / "search" / "again")
    for tags, found in ((None, ["", "again"]), (["again"], ["again"])):
        print_report("json", run, tags=tags)
        (only,) = json.loads(capsys.readouterr().out)["runs"]
        assert [search["tag"] for search in only["searches"]] == found
    with pytest.raises(UserError, match="no search of tag 'other'"):
        print_report("md", run, tags=["other"])


def test_the_next_command_asks_the_network_that_was_found(retrained: Path) -> None:
    found = document(summary.read(retrained))
    (network,) = (retrained / "retrain").iterdir()
    assert found["found"]["folder"] == f"retrain/{network.name}"
    assert found["next"] == f"python -m supernet.predict {network} PHOTOS"


# -- Markdown --------------------------------------------------------------------------------------


def test_a_budget_names_its_cost_once_in_markdown(tmp_path: Path) -> None:
    text = markdown(summary.read(pages.complete(tmp_path / "run", 20)))
    assert ", at most 0.50 MMACs" in text and "macs at most" not in text


HOSTILE = '"><img src=x onerror=alert(1)> | `a` [b](javascript:c) *d*\x1b[2J'


def test_names_of_a_run_are_text_in_markdown(run: Path) -> None:
    about = json.loads((run / "space.json").read_text())
    about["choices"][0]["name"] = HOSTILE
    about["choices"][0]["options"][0] = "<script>|"
    (run / "space.json").write_text(json.dumps(about))
    text = markdown(summary.read(run))
    assert "\x1b" not in text
    for line in text.splitlines():
        bare = re.sub(r"(`+) ?.*? ?\1(?!`)", "", line)
        assert not re.search(r"(?<!\\)[<\[*]", bare.replace("**", "")), line
    tables = re.findall(r"(?:^\|.*\n?)+", text, flags=re.MULTILINE)
    assert sum("onerror" in table for table in tables) == 2
    for table in tables:
        rows = table.splitlines()
        assert len({row.count("|") - row.count("\\|") for row in rows}) == 1, table
    assert code("a`b|c") == "`` a`b\\|c ``" and escaped("<a>") == "\\<a\\>"


def test_the_code_of_the_page_runs(retrained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    block = block.replace("runs/mine", str(retrained)).replace('"python"', repr(sys.executable))
    exec(compile(block, "docs/json.md", "exec"), {})
    assert "edge0=" in capsys.readouterr().out


def test_the_report_prints_both_without_torch(retrained: Path) -> None:
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['report', {str(retrained)!r}, {str(retrained)!r}, *sys.argv[1:]]\n"
        "runpy.run_module('supernet.report', run_name='__main__')\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    done = [
        subprocess.run(
            [sys.executable, "-c", code, *form], cwd=ROOT, capture_output=True, text=True
        )
        for form in (("--format", "md"), ("--json",))
    ]
    assert [each.returncode for each in done] == [0, 0], done[0].stderr
    assert done[0].stdout == "\n\n".join(2 * [markdown(summary.read(retrained))]) + "\n"
    assert json.loads(done[1].stdout)["runs"] == json.loads(
        json.dumps(2 * [document(summary.read(retrained))])
    )
