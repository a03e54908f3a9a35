"""What is slow to make and always the same: Vega for the page, and compiled plots. Kept in a cache.

The cache is a folder of the user's own; a file there is named by a digest of what it is made of.
"""

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from lanas.errors import UserError
from supernet.data import cache

# vega-interpreter evaluates the expressions of plots without `eval`, which the page's policy
# forbids. vl-convert carries this version of it.
# These addresses name what is inside of vl-convert; nothing is fetched.
NPM = "https://cdn.jsdelivr.net/npm"
SNIPPET = f"""import * as all from "{NPM}/vega@VERSION/+esm";
import {{expressionInterpreter}} from "{NPM}/vega-interpreter@2.0.0/+esm";
window.vega = all; window.vegaInterpreter = expressionInterpreter;"""
MOST = 64 << 20  # bytes of a file of the cache


def bundle() -> str:
    """Vega and its interpreter as one script; 4 seconds the first time. UserError where missing."""

    def make() -> str:
        import vl_convert

        snippet = SNIPPET.replace("VERSION", vl_convert.get_vega_version())
        found = str(vl_convert.javascript_bundle(snippet))
        found = found.replace("</script", "<\\/script").replace("<!--", "<\\!--")
        return f"(() => {{{found}}})();"  # its names are its own

    return _kept(make, "bundle", SNIPPET)


def compiled(name: str, *arguments: Any) -> dict[str, Any]:
    """The plot of this name of `supernet.report.plots` as Vega has it."""
    # half a surrogate pair in a name of somebody else's is no text that Vega takes
    arguments = json.loads(json.dumps(arguments, ensure_ascii=False).encode(errors="replace"))

    def make() -> str:
        import vl_convert

        from supernet.report import plots

        return json.dumps(vl_convert.vegalite_to_vega(vars(plots)[name](*arguments)))

    here = Path(__file__).parent
    sources = [(here / file).read_text() for file in ("plots.py", "style.py")]
    found: dict[str, Any] = json.loads(_kept(make, "plot", name, *arguments, *sources))
    return found


def versions() -> str:
    """Those of the page's libraries; UserError where one is missing."""
    found = []
    for name in ("altair", "vl-convert-python", "jinja2"):
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            raise UserError(
                f"no page: {name} is not installed; pip install 'lanas[report]' brings it"
            ) from None
    return ", ".join(found)


def _kept(make: Callable[[], str], *parts: Any) -> str:
    """What the cache has of these parts, else what `make` gives, which is then kept."""
    key = hashlib.sha256(json.dumps([versions(), *parts]).encode()).hexdigest()[:24]
    file = cache.folder() / "page" / key
    with suppress(OSError, UnicodeDecodeError):
        if file.stat().st_size < MOST:
            content, _, digest = file.read_text(encoding="utf-8").rpartition("\n")
            if digest == _digest(content):
                return content
    content = make()
    cache.keep(file, f"{content}\n{_digest(content)}".encode())
    return content


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
