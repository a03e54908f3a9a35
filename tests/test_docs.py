"""The pages hold together: links lead somewhere, and entries have the parts that are promised."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """What `#...` of a link may name: headings as GitHub spells them, and `<a id="...">`."""
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    spelled = (re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)
    return {*spelled, *re.findall(r'<a id="([^"]+)">', text)}


def parts(page: str, heading: str) -> dict[str, str]:
    """The sections of a page whose headings match, by heading."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    found = re.split(rf"^{heading}", text, flags=re.MULTILINE)[1:]
    return {part.partition("\n")[0]: part for part in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_a_page_and_a_heading(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for link in LINK.findall(text):
        if link.startswith(("http:", "https:")):
            continue
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    """Of the log and the changelog too: a file that has moved is named by where it is now."""
    text = page.read_text(encoding="utf-8")
    for path in re.findall(
        r"`((?:docs|recipes|benchmarks|supernet|lanas)/[\w/-]+\.(?:py|md|yaml))`", text
    ):
        assert (ROOT / path).exists(), path
    for name in re.findall(r"`(test_\w+\.py)`", text):
        assert (ROOT / "tests" / name).exists(), name


def test_an_entry_of_the_log_has_the_parts_of_the_template_or_cannot_be_rerun() -> None:
    entries = parts("log.md", r"## L\d+ · ")
    assert len(entries) >= 29
    for title, entry in entries.items():
        assert re.match(r"\d{4}-\d\d-\d\d · ", title), title
        if "*Not rerunnable" in entry and "**Question.**" not in entry:
            continue
        for part in ("**Question.**", "**Setup.**", "**Decision.**", "**Superseded by**:"):
            assert part in re.sub(r"\s+", " ", entry), (title, part)


def test_entries_of_the_log_are_numbered_in_their_order() -> None:
    text = (ROOT / "docs" / "log.md").read_text(encoding="utf-8")
    numbers = [int(number) for number in re.findall(r"^## L(\d+) · ", text, flags=re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert [int(n) for n in re.findall(r'^<a id="l(\d+)">', text, flags=re.MULTILINE)] == numbers


def test_a_finding_has_evidence_how_sure_it_is_and_what_would_refute_it() -> None:
    findings = parts("findings.md", r"### \d+\. ")
    assert len(findings) >= 25
    for title, finding in findings.items():
        for part in ("- Evidence", "- How sure:", "- Refuted by:"):
            assert part in finding, (title, part)


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_a_page_has_its_place_in_the_navigation_of_the_site(page: Path) -> None:
    nav = (ROOT / "docs" / "site" / "mkdocs.yml").read_text(encoding="utf-8")
    assert f": {page.name}\n" in nav, "give it a line under `nav` of docs/site/mkdocs.yml"
