"""The product's source as the checks of this folder see it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "common",
    "cell",
    "coordinator",
    "gateway",
    "gateway_s3",
    "rescue",
    "cli",
    "sim",
    "bench",
)
SERVICES = ("common", "cell", "coordinator", "gateway", "gateway_s3")


def modules(*packages: str) -> Iterator[Path]:
    """Every module of these packages (all, where none is named), in order."""
    for package in packages or PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


@cache
def tree(path: Path) -> ast.Module:
    """A module, parsed."""
    return ast.parse(path.read_text(encoding="utf-8"))


def name_of(path: Path) -> str:
    """A module's path from the top of the tree."""
    return str(path.relative_to(ROOT))
