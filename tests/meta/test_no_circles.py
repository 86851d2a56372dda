"""No two modules need each other, and a package's modules can be read in one order.

Imports under ``TYPE_CHECKING`` and inside functions count: they hide a circle from the interpreter,
not from a reader.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from source_tree import PACKAGES, ROOT, modules, tree


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, known: set[str]) -> Iterator[str]:
    """Yield the modules that one imports, whichever way."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            within = {f"{node.module}.{each.name}" for each in node.names}
            yield from within & known
            if node.module in known and not within <= known:
                yield node.module


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Return modules of which each imports the one before; empty: there are none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_modules_import_each_other_in_a_circle(package: str) -> None:
    paths = {module_name(path): path for path in modules(package)}
    graph = {name: set(imports(path, set(paths))) for name, path in paths.items()}
    assert circle(graph) == []


def test_a_circle_would_be_found() -> None:
    assert set(circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == {"a", "b", "c"}
    assert circle({"a": {"b"}, "b": set()}) == []
