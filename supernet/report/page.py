"""The page: one HTML file that explains a run, or several beside each other.

page.write(["runs/digits"])           # RUN/report.html; opened from disk, needs no network
page.build(["runs/a", "runs/b"])      # its text
"""

import base64
import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lanas.errors import UserError, plain
from lanas.files import replace_file
from supernet.report import content, scripts, sections, style, summary
from supernet.report.summary import Report

NAME = "report.html"
HERE = Path(__file__).parent / "templates"
TOO_MANY = 20  # runs on a page


def write(
    runs: Sequence[str | Path], out: str | Path | None = None, tags: Sequence[str] | None = None
) -> Path:
    """Write the page of these runs; the file. out: where, else RUN/report.html of the one run.

    UserError where a run is not there, the page's libraries are missing, or nothing says where.
    """
    if out is None and len(runs) != 1:
        raise UserError("--out: say where the page of several runs is to lie")
    file = Path(out) if out is not None else Path(runs[0]) / NAME
    text = build(runs, tags, beside=file.parent)
    try:
        replace_file(file, text.encode())
    except OSError as error:
        raise UserError(f"{file} cannot be written: {error.strerror}") from None
    return file


def build(
    runs: Sequence[str | Path],
    tags: Sequence[str] | None = None,
    *,
    beside: Path | None = None,
    served: str | None = None,
) -> str:
    """The text of the page. beside: the folder that it is to lie in, for links to files.

    served: under `--serve` what tells this text from an earlier one; the page then asks for newer
    ones by itself.
    """
    scripts.versions()
    if len(runs) > TOO_MANY:
        raise UserError(f"{len(runs)} runs: a page shows at most {TOO_MANY}")
    reports = [summary.read(run, tags) for run in runs]
    return render(reports, beside=beside, served=served)


def render(
    reports: Sequence[Report], *, beside: Path | None = None, served: str | None = None
) -> str:
    """The page of what was read."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    shown = sections.shown(reports, beside)
    data = script_data(reports, shown, served)
    programs = [scripts.bundle(), (HERE / "page.js").read_text(encoding="utf-8")]
    sheet = style_sheet()
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined
    )
    about = {
        **shown.context,
        "policy": policy(programs, sheet, served is not None),
        "style": sheet,
        "scripts": programs,
        "data_json": _inside_html(data),
        "footer": f"Written {time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime())} by lanas; "
        f"{scripts.versions()}. The page asks no network for anything.",
    }
    text = environment.get_template("page.html").render(about)
    return text.encode(errors="backslashreplace").decode()  # a name of a file may be no text


def script_data(
    reports: Sequence[Report], shown: sections.Shown, served: str | None
) -> dict[str, Any]:
    """What the page's script reads."""
    several = len(reports) > 1
    found = [
        content.search_data(search, run, several) for run in reports for search in run.searches
    ]
    pairs = [(search, run) for run in reports for search in run.searches]
    for data, group in zip(found, content.groups(pairs), strict=True):
        data["group"] = group
    return {
        "name": plain(reports[0].name) if not several else "comparison",
        "searches": found,
        "specs": shown.specs,
        "fixed": shown.fixed,
        "drawn": {"nodes": [_node_rows(s) for run in reports for s in run.searches]},
        "themes": style.THEMES,
        "axes": content.MOST_AXES,
        "many": content.MANY,
        "served": served,
    }


def _node_rows(search: Any) -> list[dict[str, Any]]:
    return [
        {
            "node": i,
            "parent": n.parent,
            "side": n.side,
            "trials": n.trials,
            "mean": n.mean,
            "split": "; ".join(n.words),
        }
        for i, n in enumerate(search.nodes)
    ]


# -- text ------------------------------------------------------------------------------------------


def _inside_html(data: Any) -> str:
    """JSON that ends no script element, whatever texts are in it."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def style_sheet() -> str:
    """The style sheet with the colours of both themes."""

    def colours(theme: str) -> str:
        named = {name: style.THEMES[theme][colour] for name, colour in style.NAMES.items()}
        named |= {"line": named["grid"], "ground": {"light": "#f6f8fa", "dark": "#0d1117"}[theme]}
        return "".join(f"--{name}:{value};" for name, value in named.items())

    light, dark = colours("light"), colours("dark")
    return (
        f":root{{--font:{style.FONT};{light}}}"
        f"@media (prefers-color-scheme: dark){{:root{{{dark}}}}}"
        f':root[data-theme="light"]{{color-scheme:light;{light}}}'
        f':root[data-theme="dark"]{{color-scheme:dark;{dark}}}'
        + (HERE / "page.css").read_text(encoding="utf-8")
    )


def policy(programs: Sequence[str], sheet: str, served: bool) -> str:
    """What the browser may do with the page: run these scripts, and ask nobody for anything."""

    def digest(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(map(digest, programs))}",
            f"style-src {digest(sheet)}",
            "img-src data:",
            f"connect-src {chr(39)}self{chr(39)}" if served else "connect-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
