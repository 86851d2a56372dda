"""The statements of the store whose text stands in the source, and columns that a later version may
add to any table."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

STORE: Final = Path(__file__).parents[2] / "coordinator" / "store"
LEAST: Final = 200
"""Statements whose text is known; of the others only a run says anything."""
ADDED: Final = ("later INTEGER NOT NULL DEFAULT 0", "later_text TEXT NOT NULL DEFAULT ''")
_ENGINES_OWN: Final = re.compile(
    r"PRAGMA|total_changes|pg_|nextval|regclass|store_version|_numbers"
)


def statements() -> Iterator[tuple[str, str]]:
    """Where each statement stands, and its text, as SQLite takes it."""
    for path in sorted(STORE.glob("*.py")):
        module = importlib.import_module(f"coordinator.store.{path.stem}")
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in {"execute", "executemany"}
            ):
                text = _text(node.args[0], vars(module))
                if text is not None and not _ENGINES_OWN.search(text):
                    yield f"{path.name}:{node.lineno}", text


def _text(node: ast.expr, names: dict[str, Any]) -> str | None:
    try:
        found = eval(compile(ast.Expression(node), "statement", "eval"), names, {})
    except (NameError, TypeError, AttributeError):  # a part of it is chosen in the function
        return None
    return found if isinstance(found, str) and "<function" not in found else None


def additions(tables: list[str]) -> list[str]:
    """Statements that add to each of some tables what a later version may add."""
    return [f"ALTER TABLE {table} ADD COLUMN {column}" for table in tables for column in ADDED]
