"""What the command line says of the journal on cells."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.main import main
from cli.status import describe_journal
from cli.swarm_directory import S3Credentials, Settings, SwarmDirectory
from cli.up import greeting

KEPT = {
    "state": "kept",
    "why": "",
    "cells": [{"behind": 0, "error": ""}, {"behind": 2, "error": ""}, {"behind": 0, "error": ""}],
}


def test_a_journal_that_is_kept_is_one_plain_line() -> None:
    assert describe_journal(KEPT) == ["journal  on 3 cells"]
    lagging = {**KEPT, "cells": [*KEPT["cells"][:2], {"behind": None, "error": "connect_failed"}]}
    assert describe_journal(lagging) == ["journal  on 3 cells, 1 of them lag"]
    assert describe_journal({}) == []


@pytest.mark.parametrize("state", ["off", "not kept", "unsettled"])
def test_a_journal_that_is_not_kept_is_said_in_red(state: str) -> None:
    (line,) = describe_journal({"state": state, "why": "for a reason", "cells": []})
    assert f"JOURNAL {state.upper()}: for a reason" in line
    assert "\x1b[31m" in line


@pytest.mark.parametrize(
    ("config", "is_kept", "words"),
    [
        ({}, True, ("coordinator/recovery.json", "alveary coordinator recover")),
        ({"journal": "on"}, True, ("coordinator/recovery.json",)),
        ({}, False, ("Fewer than 3 cells", "alveary coordinator backup")),
        ({"journal": "off"}, True, ('journal = "off"', "alveary coordinator backup")),
    ],
)
def test_up_says_what_to_keep_elsewhere(
    config: dict[str, str], is_kept: bool, words: tuple[str, ...], tmp_path: Path
) -> None:
    SwarmDirectory(tmp_path).write_daemon_config("coordinator", config)
    if is_kept:
        (tmp_path / "coordinator" / "recovery.json").write_text("{}")
    credentials = S3Credentials("http://127.0.0.1:9000", "us-east-1", "key", "secret")
    shown = greeting(Settings(6, "4/6", "127.0.0.1:9000", False), credentials, tmp_path)
    assert shown.count("IMPORTANT") == 1
    for each in words:
        assert each in shown


def test_a_file_that_is_no_recovery_file_recovers_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "recovery.json"
    for content in (b"", b"{}", b'{"version": 2}', b"\xff"):
        file.write_bytes(content)
        data = tmp_path / "data"
        assert main(["coordinator", "recover", f"--data={data}", str(file)]) == 2
        assert "recovery file" in capsys.readouterr().err
        assert [each.name for each in data.iterdir()] == ["lock"]
