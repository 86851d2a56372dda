"""No two test files have one name: without packages, pytest can import only one of them."""

from __future__ import annotations

from collections import Counter

from source_tree import ROOT


def test_every_test_file_has_a_name_of_its_own() -> None:
    names = Counter(path.name for path in (ROOT / "tests").rglob("*.py"))
    twice = [name for name, count in names.items() if count > 1 and name != "conftest.py"]
    assert not twice
