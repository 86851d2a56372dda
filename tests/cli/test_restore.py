"""`alveary coordinator restore`: a checked backup is put in place, and nothing is overwritten."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from cli.main import main
from common.system.disk import hold_directory
from coordinator.journaled_store import STORE_NAME
from coordinator.secrets import BEGUN_NAME, IDENTITY_NAME, SECRET_NAME
from coordinator.store.schema import migrate

KEYS = (IDENTITY_NAME, SECRET_NAME)


def make_store(directory: Path, transactions: int) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(directory / STORE_NAME)) as connection:
        migrate(connection)
        connection.execute("UPDATE counters SET value = ? WHERE name = 'commit'", (transactions,))
        connection.executemany(
            "INSERT INTO deletes VALUES (?, ?, 0)", [(n, bytes(2000)) for n in range(500)]
        )
        connection.commit()


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    directory = tmp_path / "backup"
    make_store(directory, 7)
    for name in KEYS:
        (directory / name).write_text("ab" * 32 + "\n")
    return directory


def restore(backup: Path, data: Path, *more: str) -> int:
    return main(["coordinator", "restore", *more, "--data", str(data), str(backup)])


def transactions(directory: Path) -> int:
    with closing(sqlite3.connect(directory / STORE_NAME)) as connection:
        found: int = connection.execute(
            "SELECT value FROM counters WHERE name = 'commit'"
        ).fetchone()[0]
        return found


def names(directory: Path) -> list[str]:
    return sorted(each.name for each in directory.iterdir())


@pytest.mark.fault("F5")
def test_an_empty_machine_gets_the_store_and_the_keys(
    backup: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "new"
    assert restore(backup, data, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["transactions"], told["replaced"], told["other_keys_kept"]) == (7, None, False)
    assert transactions(data) == 7
    assert set(names(data)) == {STORE_NAME, BEGUN_NAME, "lock", *KEYS}
    for name in (STORE_NAME, *KEYS):
        assert (data / name).stat().st_mode & 0o77 == 0
        assert (data / name).read_bytes() == (backup / name).read_bytes()


def test_a_store_that_is_there_is_refused_and_with_replace_moved_aside_with_its_log(
    backup: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "swarm" / "coordinator"
    make_store(data, 99)
    (data / (STORE_NAME + "-wal")).write_bytes(b"of the store that is there")
    before = names(data)
    assert restore(backup, data.parent) == 2
    assert "--replace" in capsys.readouterr().err
    assert [each for each in names(data) if each != "lock"] == before
    assert restore(backup, data.parent, "--replace") == 0
    assert transactions(data) == 7
    assert not (data / (STORE_NAME + "-wal")).exists()
    aside = data / "replaced-1"
    assert names(aside) == [STORE_NAME, STORE_NAME + "-wal"]
    assert restore(backup, data.parent, "--replace") == 0
    assert names(data / "replaced-2") == [STORE_NAME]


def test_a_log_without_its_store_never_meets_another_store(backup: Path, tmp_path: Path) -> None:
    data = tmp_path / "new"
    data.mkdir()
    (data / (STORE_NAME + "-wal")).write_bytes(b"of a store that was moved aside")
    assert restore(backup, data) == 2
    assert restore(backup, data, "--replace") == 0
    assert names(data / "replaced-1") == [STORE_NAME + "-wal"]


def test_keys_that_are_there_stay(
    backup: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "new"
    data.mkdir()
    (data / SECRET_NAME).write_text("cd" * 32 + "\n")
    assert restore(backup, data) == 0
    assert "own keys stay" in capsys.readouterr().out
    assert (data / SECRET_NAME).read_text() == "cd" * 32 + "\n"
    assert (data / IDENTITY_NAME).read_text() == "ab" * 32 + "\n"


def test_a_coordinator_that_runs_is_left_alone(
    backup: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "new"
    make_store(data, 99)
    with hold_directory(data):
        assert restore(backup, data, "--replace") == 2
    assert transactions(data) == 99


def damage(backup: Path) -> None:
    content = bytearray((backup / STORE_NAME).read_bytes())
    for at in range(len(content) // 2, len(content) // 2 + 20_000):
        content[at] ^= 0x5A
    (backup / STORE_NAME).write_bytes(content)


def make_newer(backup: Path) -> None:
    with closing(sqlite3.connect(backup / STORE_NAME)) as connection:
        connection.execute("PRAGMA user_version = 1000000")
        connection.execute("UPDATE counters SET value = 1000000 WHERE name = 'least_version'")
        connection.commit()


def forget_a_key(backup: Path) -> None:
    (backup / SECRET_NAME).unlink()


def empty(backup: Path) -> None:
    (backup / STORE_NAME).write_bytes(b"")


@pytest.mark.fault("F5")
@pytest.mark.parametrize(
    ("harm", "code"), [(damage, 6), (make_newer, 2), (forget_a_key, 2), (empty, 2)]
)
def test_a_backup_that_is_no_good_changes_nothing(harm, code, backup: Path, tmp_path: Path) -> None:
    data = tmp_path / "new"
    make_store(data, 99)
    harm(backup)
    assert restore(backup, data, "--replace") == code
    assert transactions(data) == 99
    assert not (data / "replaced-1").exists()
