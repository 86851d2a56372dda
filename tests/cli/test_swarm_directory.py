from pathlib import Path

import pytest

from cli.swarm_directory import S3Credentials, Settings, SwarmDirectory, parse_redundancy
from cli.up import class_warnings
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


def test_sites_have_names_coordinators_and_a_class_that_goes_on_without_one() -> None:
    made = Settings.resolve(None, cells=None, redundancy=None, s3=None, sites=3)
    assert (made.cells, made.redundancy) == (6, "2/6")
    assert made.coordinators == ["coordinator", "coordinator-2", "coordinator-3"]
    assert [made.site_of(number) for number in range(4)] == ["site-1", "site-2", "site-3", "site-1"]
    assert class_warnings(made) == []
    assert Settings.resolve(None, cells=None, redundancy=None, s3=None, sites=8).cells == 8


def test_a_class_that_stops_without_a_site_is_warned_of() -> None:
    made = Settings.resolve(None, cells=None, redundancy="4/6", s3=None, sites=3)
    assert any("writes wait" in each for each in class_warnings(made))
    made = Settings.resolve(None, cells=None, redundancy="5/6", s3=None, sites=3)
    assert any("cannot be read" in each for each in class_warnings(made))


def test_without_sites_there_is_one_coordinator_and_nothing_else_changes() -> None:
    made = Settings.resolve(None, cells=None, redundancy=None, s3=None)
    assert (made.sites, made.cells, made.redundancy) == (0, 6, "4/6")
    assert made.coordinators == ["coordinator"]
    assert made.site_of(5) == ""


def test_sites_cannot_change_and_need_a_cell_each() -> None:
    made = Settings.resolve(None, cells=None, redundancy=None, s3=None, sites=3)
    assert Settings.resolve(made, cells=None, redundancy=None, s3=None).sites == 3
    assert Settings.resolve(made, cells=None, redundancy=None, s3=None, sites=3) == made
    with pytest.raises(BadConfig, match="made with 3 sites, not 4"):
        Settings.resolve(made, cells=None, redundancy=None, s3=None, sites=4)
    with pytest.raises(BadConfig, match="made with no sites, not 3"):
        Settings.resolve(MADE, cells=None, redundancy=None, s3=None, sites=3)
    with pytest.raises(BadConfig, match="at least a cell each"):
        Settings.resolve(None, cells=6, redundancy="2/6", s3=None, sites=7)
