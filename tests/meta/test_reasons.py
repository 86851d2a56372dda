"""Every error has a reason of its own class, and every reason is given somewhere."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest
from source_tree import modules, name_of, tree

from cli.report import _EXIT_CODES
from common.errors import BY_WIRE_CODE, AlvearyError, Refused
from common.reasons import ConfigFault, Outage, Reason, Refusal

KINDS = {each.__name__: each for each in BY_WIRE_CODE.values()}
ENUMERATIONS = {each.reasons.__name__: each.reasons for each in BY_WIRE_CODE.values()}


def members(node: ast.AST) -> Iterator[Reason]:
    """The reasons that an expression names."""
    for each in ast.walk(node):
        if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name):
            enumeration = ENUMERATIONS.get(each.value.id)
            if enumeration is not None:
                yield enumeration[each.attr]


def made() -> Iterator[tuple[str, type[AlvearyError], ast.expr]]:
    """Where an error is made of a reason, its class, and the reason's expression."""
    for path in modules():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
                kind = KINDS.get(node.func.id)
                if kind is not None:
                    yield f"{name_of(path)}:{node.lineno}", kind, node.args[0]


def test_an_error_is_made_of_a_reason_of_its_own_class() -> None:
    wrong = [
        place
        for place, kind, reason in made()
        if any(not isinstance(each, kind.reasons) for each in members(reason))
        or isinstance(reason, ast.Constant | ast.JoinedStr)
    ]
    assert not wrong


def test_every_reason_is_used() -> None:
    given = {repr(each) for path in modules() for each in members(tree(path))}
    by_name = {repr(ConfigFault.CELL_EXISTS), repr(ConfigFault.GATEWAY_EXISTS)}
    listed = {repr(each) for kind in ENUMERATIONS.values() for each in kind}
    assert not listed - given - by_name


def test_every_class_of_errors_has_its_own_enumeration_and_an_exit_code() -> None:
    assert len(ENUMERATIONS) == len(KINDS)
    assert {kind for kind, _ in _EXIT_CODES} == set(KINDS.values())


def test_an_error_does_not_take_a_reason_of_another_class() -> None:
    with pytest.raises(AssertionError, match="is not of Refused"):
        Refused(Outage.NO_SPACE)


def test_an_error_from_another_version_keeps_its_unknown_reason() -> None:
    error = Refused.received("a_reason_of_tomorrow", {"slot": 3}).again(address="host:1")
    assert type(error) is Refused
    assert str(error) == "a_reason_of_tomorrow (slot=3, address='host:1')"
    assert Refused.received("not_owner").reason == Refusal.NOT_OWNER
