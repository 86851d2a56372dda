from pathlib import Path

import pytest

from cli.swarm_directory import S3Credentials, Settings, SwarmDirectory, parse_redundancy
from common.errors import BadConfig

MADE = Settings(cells=8, redundancy="4/6", s3="127.0.0.1:9000", coordinator_id="ab" * 32)


def test_the_first_start_takes_the_defaults() -> None:
    settings = Settings.resolve(None, cells=None, redundancy=None, s3=None)
    assert settings == Settings(cells=6, redundancy="4/6", s3="127.0.0.1:9000")


def test_a_later_start_takes_what_is_remembered() -> None:
    assert Settings.resolve(MADE, cells=None, redundancy=None, s3=None) == MADE
    assert Settings.resolve(MADE, cells=8, redundancy="4/6", s3=None) == MADE


def test_cells_may_grow_and_the_address_may_change() -> None:
    grown = Settings.resolve(MADE, cells=9, redundancy=None, s3="127.0.0.1:9001")
    assert (grown.cells, grown.s3, grown.coordinator_id) == (9, "127.0.0.1:9001", "ab" * 32)


@pytest.mark.parametrize(
    ("remembered", "cells", "redundancy", "reason"),
    [
        (MADE, None, "8/12", "redundancy_differs"),
        (MADE, 6, None, "cells_differ"),
        (None, 5, None, "too_few_cells"),
        (None, 6, "6/4", "bad_redundancy"),
        (None, 6, "4", "bad_redundancy"),
        (None, 99, "4/65", "bad_redundancy"),
    ],
)
def test_what_cannot_be_is_refused(
    remembered: Settings | None, cells: int | None, redundancy: str | None, reason: str
) -> None:
    with pytest.raises(BadConfig) as caught:
        Settings.resolve(remembered, cells=cells, redundancy=redundancy, s3=None)
    assert caught.value.reason == reason


def test_redundancy_is_read_as_two_numbers() -> None:
    assert parse_redundancy("10/16") == (10, 16)


def test_settings_and_credentials_come_back_and_are_private(tmp_path: Path) -> None:
    directory = SwarmDirectory(tmp_path / "swarm")
    credentials = S3Credentials("http://127.0.0.1:9000", "us-east-1", "AK", "sk")
    assert directory.read_settings() is None
    assert directory.read_credentials() is None
    directory.write_settings(MADE)
    directory.write_credentials(credentials)
    assert directory.read_settings() == MADE
    assert directory.read_credentials() == credentials
    for name in ("swarm.json", "credentials.json"):
        assert (directory.root / name).stat().st_mode & 0o777 == 0o600
    assert directory.root.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 2}', '{"cells": 1, "x": 2}'])
def test_a_damaged_settings_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "swarm.json").write_text(content)
    with pytest.raises(BadConfig):
        SwarmDirectory(tmp_path).read_settings()


def test_the_list_of_processes_can_be_forgotten_twice(tmp_path: Path) -> None:
    directory = SwarmDirectory(tmp_path)
    directory.write_processes([{"name": "gateway", "role": "gateway", "pid": 1, "data": "x"}])
    directory.forget_processes()
    directory.forget_processes()
    assert not (tmp_path / "processes.json").exists()
