"""A docstring that names a section of a page names one that is there, and pages link to files and
sections that are there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from source_tree import ROOT, modules, name_of

PAGE = re.compile(r"\bdocs/([\w/-]+\.md)((?:,?\s+(?:and\s+)?\"[^\"]+\")*)")
SECTION = re.compile(r"\"([^\"]+)\"")
HEADING = re.compile(r"^#+\s+(.*?)\s*#*$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@cache
def headings(page: Path) -> list[str]:
    return [each.replace("`", "") for each in HEADING.findall(page.read_text(encoding="utf-8"))]


def anchor(heading: str) -> str:
    """The name that renderers of Markdown give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def broken_references(module: Path) -> Iterator[str]:
    text = re.sub(r"\s*\n\s*(?:#\s*)?", " ", module.read_text(encoding="utf-8"))
    for name, sections in PAGE.findall(text):
        page = ROOT / "docs" / name
        if not page.exists():
            yield f"docs/{name}"
            continue
        for section in SECTION.findall(sections):
            if section not in headings(page):
                yield f'docs/{name}, "{section}"'


def broken_links(page: Path) -> Iterator[str]:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, section = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        if not path.exists() or (
            section and section not in {anchor(each) for each in headings(path)}
        ):
            yield link


def test_every_source_that_a_module_names_is_there() -> None:
    found = {name_of(module): [*broken_references(module)] for module in modules()}
    assert {module: names for module, names in found.items() if names} == {}


def test_every_link_of_a_page_leads_somewhere() -> None:
    found = {name_of(page): [*broken_links(page)] for page in PAGES}
    assert {page: links for page, links in found.items() if links} == {}


def test_what_leads_nowhere_is_found(tmp_path: Path) -> None:
    module, page = tmp_path / "module.py", tmp_path / "page.md"
    module.write_text('"""Source: docs/hacking.md, "No such section"; docs/nowhere.md."""')
    assert [*broken_references(module)] == ['docs/hacking.md, "No such section"', "docs/nowhere.md"]
    page.write_text("# Here\n[a](#here) [b](#there) [c](nowhere.md) [d](https://example.com/)")
    assert [*broken_links(page)] == ["#there", "nowhere.md"]
