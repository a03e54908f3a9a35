"""README.md and CHANGELOG.md stand outside of docs/: here they become pages of the site."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
PAGES = {"index.md": "README.md", "changelog.md": "CHANGELOG.md"}
PICTURE = re.compile(
    r'<picture>.*?srcset="([^"]+)".*?src="([^"]+)" alt="([^"]+)".*?</picture>', re.S
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add them, with links that start at docs/, and pictures that follow the site's own switch."""
    for name, file in PAGES.items():
        text = (ROOT / file).read_text(encoding="utf-8")
        text = PICTURE.sub(r"![\3](\2#only-light)![\3](\1#only-dark)", text)
        files.append(File.generated(config, name, content=text.replace("](docs/", "](")))
    return files
