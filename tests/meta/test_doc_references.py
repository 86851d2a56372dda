"""A docstring that names a section of a page names one that is there, and pages link to files and
sections that are there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from source_tree import ROOT, modules, name_of

PAGE = re.compile(r"\bdocs/([\w/-]+\.md)((?:,?\s+(?:and\s+)?\"[^\"]+\")*)")
SECTION = re.compile(r"\"([^\"]+)\"")
HEADING = re.compile(r"^#+\s+(.*?)\s*#*$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def headings(page: Path) -> list[str]:
    return [each.replace("`", "") for each in HEADING.findall(page.read_text(encoding="utf-8"))]


def anchor(heading: str) -> str:
    """The name that renderers of Markdown give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def references() -> Iterator[tuple[str, str, str]]:
    for path in modules():
        text = re.sub(r"\s*\n\s*(?:#\s*)?", " ", path.read_text(encoding="utf-8"))
        for page, sections in PAGE.findall(text):
            yield name_of(path), page, ""
            for section in SECTION.findall(sections):
                yield name_of(path), page, section


@pytest.mark.parametrize(("module", "page", "section"), sorted(set(references())))
def test_a_source_that_a_module_names_is_there(module: str, page: str, section: str) -> None:
    path = ROOT / "docs" / page
    assert path.exists(), f"{module} names docs/{page}"
    assert not section or section in headings(path), f'{module}: docs/{page} has no "{section}"'


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, section = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{page.name} links to {link}"
        if section:
            assert section in {anchor(each) for each in headings(path)}, f"{page.name}: {link}"
