"""Whoever switches a check off for a line says why, beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from source_tree import ROOT, modules, name_of

EXCUSE: Final = re.compile(
    r"#\s*(?:noqa(?::\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*)?|type:\s*ignore(?:\[[\w, -]+\])?)(?P<rest>.*)$"
)


def bare(text: str) -> Iterator[int]:
    """The lines with an excuse and no reason: behind it, or in a comment just above."""
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        found = EXCUSE.search(line)
        above = lines[number - 2].strip() if number > 1 else ""
        if found and not re.search(r"\w{2}", found["rest"]) and not above.startswith("#"):
            yield number


def test_every_excuse_has_a_reason() -> None:
    paths = [*modules(), *sorted((ROOT / "tests").rglob("*.py"))]
    found = [
        f"{name_of(path)}:{line}"
        for path in paths
        if path != Path(__file__)
        for line in bare(path.read_text("utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("text", "is_bare"),
    [
        ("x()  # noqa", True),
        ("x()  # noqa: S311", True),
        ("x()  # noqa: S311, S104", True),
        ("x()  # type: ignore[arg-type, misc]", True),
        ("x()  # noqa: S311  # no secret", False),
        ("x()  # noqa: S311 - no secret", False),
        ("x()  # type: ignore[arg-type]  (a stand-in)", False),
        ("# It is no secret.\nx()  # noqa: S311", False),
        ("x()  # what noqa is", False),
    ],
)
def test_a_reason_is_told_from_none(text: str, is_bare: bool) -> None:
    assert any(bare(text)) is is_bare
