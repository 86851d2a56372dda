"""Every incident of another server that docs/incidents.md lists has tests, which name its row."""

from __future__ import annotations

import ast
import re
from collections import defaultdict

from source_tree import ROOT

ROW = re.compile(r"^\| (\d+) \| .+ \| .+ \| .+ \| (.+) \|$", re.MULTILINE)
NAME = re.compile(r"`(\w+)`")
ROWS = 37


def marked() -> dict[int, set[str]]:
    """The tests that are marked with each row."""
    found: dict[int, set[str]] = defaultdict(set)
    for path in (ROOT / "tests").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if "mark.incident(" not in text:
            continue
        for node in ast.parse(text).body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.incident":
                    for row in mark.args:
                        found[ast.literal_eval(row)].add(node.name.removeprefix("test_"))
    return found


def test_every_row_names_the_tests_that_name_it() -> None:
    page = (ROOT / "docs/incidents.md").read_text(encoding="utf-8")
    rows = {int(number): set(NAME.findall(tests)) for number, tests in ROW.findall(page)}
    assert sorted(rows) == list(range(1, ROWS + 1))
    assert rows == marked()
