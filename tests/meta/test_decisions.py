"""Decisions have one number each, stand in the index, and say what a decision has to say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from source_tree import ROOT

FOLDER = ROOT / "docs/decisions"
DECISIONS = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")
PARTS = ("Objective", "Alternatives", "Choice", "Cost", "How tested")


def test_no_number_is_used_twice() -> None:
    numbers = [path.name[:4] for path in DECISIONS]
    assert all(number.isdigit() for number in numbers)
    assert len(set(numbers)) == len(numbers)


def test_the_index_lists_every_decision_by_its_title() -> None:
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[(\d{4})\]\(([\w.-]+)\) \| (.*?) \| .+ \|$", index, re.MULTILINE)
    titles = [path.read_text(encoding="utf-8").split("\n")[0][2:] for path in DECISIONS]
    expected = [
        (path.name[:4], path.name, title) for path, title in zip(DECISIONS, titles, strict=True)
    ]
    assert rows == expected


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.name)
def test_a_decision_has_its_parts(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    missing = [part for part in PARTS if f"\n**{part}" not in text]
    assert not missing
