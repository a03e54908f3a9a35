"""The tables of flags in docs/commands.md, written from the settings themselves.

python -m supernet.cli.page    # writes them anew between the marks of the page
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args, get_origin

import lanas
from supernet.cli.settings import RetrainSettings, SearchSettings, TrainSettings, named
from supernet.settings import Setting, settings_of, shown

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"
BEGIN, END = "<!-- written by python -m supernet.cli.page -->", "<!-- end -->"
SCRIPTS = {
    "train_supernet.py": TrainSettings,
    "search.py": SearchSettings,
    "retrain.py": RetrainSettings,
}


def tables() -> str:
    """All flags of the scripts and all settings of the search methods, as Markdown."""
    lines: list[str] = []
    for script, kind in SCRIPTS.items():
        lines += [f"### `{script}`", ""]
        group = ""
        for setting in settings_of(kind, described=True).values():
            if setting.group != group:
                group = setting.group
                lines += ["", f"**{group}**", "", "| flag | default | what |", "|---|---|---|"]
            lines.append(_row(setting, f"`--{setting.name.replace('_', '-')}`"))
        lines.append("")
    lines += ["### `--optimiser-settings`", "", *_optimisers()]
    return "\n".join(lines)


def _optimisers() -> Iterator[str]:
    for name, kind in lanas.optimisers.items():
        found = settings_of(kind.Settings, described=True)
        if not found:
            continue
        presets = f" (presets: default, {', '.join(kind.presets)})" if kind.presets else ""
        yield from ("", f"**{name}**{presets}", "", "| setting | default | what |", "|---|---|---|")
        for setting in found.values():
            yield _row(setting, f"`{setting.name}`")


def _row(setting: Setting, name: str) -> str:
    default = shown(setting.default)
    words = named(setting.help)
    if get_origin(setting.kinds[0]) is Literal:
        words += f" ({', '.join(get_args(setting.kinds[0]))})"
    if setting.alias:
        name += f", `--{setting.alias.replace('_', '-')}`"
    words = words.replace("|", "/").replace(f"docs/{PAGE.name}", "below")
    words = re.sub(r"docs/([a-z-]+\.md)", r"[\1](\1)", words)
    return f"| {name} | {'' if default == 'null' else default} | {words} |"


def main() -> None:
    """Write the tables into the page."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{tables()}\n{END}{after}")


if __name__ == "__main__":
    main()
