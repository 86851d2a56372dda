"""SQL stands in coordinator/store/ only, and SQLite's own words in its dialect.py only."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
STORE: Final = ROOT / "coordinator" / "store"
DIALECT: Final = STORE / "dialect.py"
SQL: Final = re.compile(
    r"\b(SELECT|INSERT (INTO|OR)|UPDATE \w+ SET|DELETE FROM|PRAGMA|CREATE (TABLE|(UNIQUE )?INDEX))"
    r"\b"
)
SQLITE: Final = re.compile(
    r"\b(PRAGMA|ROWID|_rowid_|AUTOINCREMENT|CROSS JOIN|INSERT OR|REPLACE INTO|GLOB|IFNULL|"
    r"STRICT|sqlite_\w+|last_insert_rowid|randomblob|INDEXED BY)\b|\?\d|\b[xX]'|\bmax\([^()]*,",
    re.IGNORECASE,
)
ATTRIBUTES: Final = {"lastrowid", "total_changes", "executescript"}


def words(path: Path) -> Iterator[str]:
    """The texts of a module that are no docstrings, and names of attributes that are SQLite's."""
    tree = ast.parse(path.read_text())
    docs = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value
        elif isinstance(node, ast.Attribute) and node.attr in ATTRIBUTES:
            yield f"PRAGMA {node.attr}"  # SQL, and SQLite's


@pytest.mark.parametrize(
    "path",
    [path for path in (ROOT / "coordinator").rglob("*.py") if STORE not in path.parents],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_no_sql_outside_of_the_store(path: Path) -> None:
    assert not [each for each in words(path) if SQL.search(each)]


@pytest.mark.parametrize(
    "path", [path for path in STORE.rglob("*.py") if path != DIALECT], ids=lambda path: path.name
)
def test_no_word_of_sqlite_outside_of_its_dialect(path: Path) -> None:
    assert not [each for each in words(path) if SQLITE.search(each)]


def test_the_test_sees_what_it_looks_for() -> None:
    assert any(SQL.search(each) for each in words(STORE / "objects.py"))
    assert any(SQLITE.search(each) for each in words(DIALECT))
