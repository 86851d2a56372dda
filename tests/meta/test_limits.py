"""A limit is found by looking in one place: ``common/limits.py``."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from common import limits

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("common", "cell", "coordinator", "gateway", "gateway_s3", "rescue", "cli")
"""The simulator and the bench have limits of their own, which bound a run and no product."""
LIMIT_NAME = re.compile(r"_?([A-Z0-9]+_)*(MAX|MIN|LEAST|MOST)(_[A-Z0-9]+)*")
NO_LIMITS = {
    ("gateway_s3/errors.py", "MAX_MESSAGE_LENGTH_EXCEEDED"),
    ("gateway_s3/errors.py", "MAX_POST_PRE_DATA_LENGTH_EXCEEDED"),
    ("common/system/memory.py", "_ARENA_MAX"),
}
"""Names of another kind: errors of S3, a parameter's number in malloc."""
UNITS = {"KIB", "MIB", "GIB"}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for package in PRODUCT:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = str(path.relative_to(ROOT))
            if name != "common/limits.py":
                yield name, ast.parse(path.read_text(encoding="utf-8"))


def assigned(module: ast.Module) -> Iterator[str]:
    """Yield the names that a module assigns at its top."""
    for statement in module.body:
        targets = [statement.target] if isinstance(statement, ast.AnnAssign) else []
        if isinstance(statement, ast.Assign):
            targets = list(statement.targets)
        yield from (each.id for each in targets if isinstance(each, ast.Name))


def test_no_other_module_defines_a_limit() -> None:
    found = {
        (path, name)
        for path, module in modules()
        for name in assigned(module)
        if LIMIT_NAME.fullmatch(name)
    }
    assert found <= NO_LIMITS


def test_a_user_of_a_limit_says_where_it_is_from() -> None:
    """So that a reader sees a limit as one, and a test can set another."""
    found = {
        (path, each.name)
        for path, module in modules()
        for node in ast.walk(module)
        if isinstance(node, ast.ImportFrom) and node.module == "common.limits"
        for each in node.names
    }
    assert {(path, name) for path, name in found if name not in UNITS} == set()


def test_every_limit_is_used() -> None:
    used = {
        node.attr
        for package in (*PRODUCT, "sim")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
    }
    others = {
        node.id
        for statement in ast.parse((ROOT / "common/limits.py").read_text(encoding="utf-8")).body
        if isinstance(statement, ast.AnnAssign) and statement.value is not None
        for node in ast.walk(statement.value)
        if isinstance(node, ast.Name)
    }
    assert [name for name in vars(limits) if name.isupper() and name not in used | others] == []


def test_every_limit_is_a_positive_number() -> None:
    values = {name: value for name, value in vars(limits).items() if name.isupper()}
    wrong = {
        name: value
        for name, value in values.items()
        if not isinstance(value, int | float) or value <= 0
    }
    assert wrong == {}
