"""Regular expressions that no text makes slow, and comparisons of secrets that take no hint."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from re import _constants as code  # type: ignore[attr-defined]  # the parser has no public name
from re import _parser as parser  # type: ignore[attr-defined]  # likewise
from typing import Any

import pytest
from source_tree import SERVICES, modules, name_of, tree

REPEATS = {code.MAX_REPEAT, code.MIN_REPEAT}
SECRET = re.compile(r"(^|_)(signature|secret|token|mac|hmac|tag)$")
COMPARED = re.compile(
    r"(signature|secret|token|mac|tag)\b[^\n]*[!=]=|[!=]=[^\n]*(signature|secret|token|mac|tag)\b"
)
"""In the text of a module that may compare one."""


def patterns() -> Iterator[tuple[str, re.Pattern[Any]]]:
    """The compiled expressions of the services' modules."""
    for path in modules(*SERVICES):
        if path.name == "main.py":
            continue
        name = name_of(path).removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        for attribute, value in vars(importlib.import_module(name)).items():
            if isinstance(value, re.Pattern):
                yield f"{name}.{attribute}", value


def branches(parsed: Any) -> Iterator[tuple[int, Any]]:
    """The repetitions in a parsed expression: the most of each, and what it repeats."""
    for operator, argument in parsed:
        if operator in REPEATS:
            _, most, inner = argument
            yield most, inner
            yield from branches(inner)
        elif operator is code.SUBPATTERN:
            yield from branches(argument[3])
        elif operator is code.BRANCH:
            for each in argument[1]:
                yield from branches(each)
        elif operator in {code.ASSERT, code.ASSERT_NOT}:
            yield from branches(argument[1])


def backtracks(pattern: str | bytes) -> bool:
    """Whether a repetition without bound is repeated without bound, which may take a time that
    doubles with each letter; unless a letter that the inner one cannot have stands between."""
    for most, inner in branches(parser.parse(pattern)):
        if most is code.MAXREPEAT and any(each is code.MAXREPEAT for each, _ in branches(inner)):
            first = inner[0] if inner[0][0] is not code.SUBPATTERN else inner[0][1][3][0]
            if first[0] is not code.LITERAL:
                return True
    return False


@pytest.mark.incident(11)
def test_no_expression_repeats_what_repeats() -> None:
    found = dict(patterns())
    assert len(found) > 30
    assert [name for name, each in found.items() if backtracks(each.pattern)] == []


@pytest.mark.parametrize("pattern", [r"(a+)+b", r"(a*)*", r"(\w+\s?)*$", r"(x|(y+z?)+)+"])
def test_an_expression_that_backtracks_is_found(pattern: str) -> None:
    assert backtracks(pattern)


def compared(module: ast.Module) -> Iterator[str]:
    """Names of secrets that are compared by ``==`` or ``!=`` with something that is no constant."""
    for node in ast.walk(module):
        if not isinstance(node, ast.Compare) or not isinstance(node.ops[0], ast.Eq | ast.NotEq):
            continue
        sides = (node.left, *node.comparators)
        if not any(isinstance(side, ast.Constant) for side in sides):
            names = (getattr(side, "attr", getattr(side, "id", "")) for side in sides)
            yield from filter(SECRET.search, names)


@pytest.mark.incident(34)
def test_secrets_are_compared_in_constant_time() -> None:
    found = {
        name_of(path): list(compared(tree(path)))
        for path in modules(*SERVICES)
        if COMPARED.search(path.read_text(encoding="utf-8"))
    }
    assert {name: secrets for name, secrets in found.items() if secrets} == {}
    assert list(compared(ast.parse("if claim.signature != expected: pass"))) == ["signature"]
