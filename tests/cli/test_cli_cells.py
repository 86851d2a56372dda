"""The commands that decide something of a cell, as an operator gives them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

import cli.operators
from cli.main import main
from cli.operators import OperatorApi

ID = "ab" * 32


class Coordinator:
    """Answers with one cell, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []

    def connect(self, operator: Path | None, data: Path | None, *, timeout_s: float) -> OperatorApi:
        def answer(request: httpx.Request) -> httpx.Response:
            self.asked.append((request.url.path, json.loads(request.content)))
            return httpx.Response(200, json={"cell_id": ID, "maintenance_left_s": 5400})

        return OperatorApi("http://c", "secret", transport=httpx.MockTransport(answer))


@pytest.fixture
def coordinator(monkeypatch: pytest.MonkeyPatch) -> Coordinator:
    found = Coordinator()
    monkeypatch.setattr(cli.operators, "connect", found.connect)
    return found


@pytest.mark.parametrize(
    ("words", "decision", "body", "told"),
    [
        (["drain", "abab"], "drain", {}, ": leaving"),
        (["drain", "abab", "--cancel"], "drain", {"cancel": True}, "stays"),
        (
            ["maintenance", "abab", "--hours", "1.5"],
            "maintenance",
            {"window_s": 5400},
            "may be silent for 1 h 30 min",
        ),
        (["maintenance", "abab", "--cancel"], "maintenance", {"cancel": True}, "no maintenance"),
        (["suspend", "abab", "--reason", "a b"], "suspend", {"reason": "a b"}, "is suspended"),
        (["resume", "abab"], "resume", {}, "is trusted again"),
    ],
)
def test_a_command_asks_for_its_decision_and_names_the_cell(
    coordinator: Coordinator,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    decision: str,
    body: dict[str, Any],
    told: str,
) -> None:
    assert main(["cell", *words]) == 0
    assert coordinator.asked == [(f"/v1/cells/abab/{decision}", body)]
    out = capsys.readouterr().out
    assert told in out
    assert ID[:12] in out


@pytest.mark.parametrize(
    "words",
    [
        ["maintenance", "abab"],
        ["maintenance", "abab", "--hours", "0"],
        ["maintenance", "abab", "--hours", "169"],
        ["maintenance", "abab", "--hours", "1", "--cancel"],
        ["suspend", "abab"],
        ["drain"],
    ],
)
def test_a_command_that_makes_no_sense_asks_for_nothing(
    coordinator: Coordinator, words: list[str]
) -> None:
    assert main(["cell", *words]) == 2
    assert not coordinator.asked
