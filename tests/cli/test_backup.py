"""`alveary coordinator backup`: a checked copy of a store in use."""

import sqlite3
from contextlib import closing

import pytest

from cli.main import main
from coordinator.journaled_store import STORE_NAME
from coordinator.secrets import IDENTITY_NAME, SECRET_NAME
from coordinator.store.schema import migrate


@pytest.fixture
def coordinator(tmp_path):
    """A coordinator's directory, and the connection of the one that runs on its store."""
    directory = tmp_path / "swarm" / "coordinator"
    directory.mkdir(parents=True)
    for name in (IDENTITY_NAME, SECRET_NAME):
        (directory / name).write_text("00" * 32)
        (directory / name).chmod(0o600)
    with closing(sqlite3.connect(directory / STORE_NAME, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        migrate(connection)
        connection.executemany(
            "INSERT INTO deletes VALUES (?, ?, 0)", [(n, bytes(2000)) for n in range(500)]
        )
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        yield directory, connection


@pytest.mark.fault("F5")
def test_a_backup_has_what_was_committed_and_nothing_half_done(coordinator, tmp_path, capsys):
    directory, connection = coordinator
    connection.execute("UPDATE counters SET value = 7 WHERE name = 'sequence'")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE counters SET value = 8 WHERE name = 'sequence'")
    target = tmp_path / "copy"
    assert main(["coordinator", "backup", "--data", str(directory.parent), str(target)]) == 0
    connection.execute("COMMIT")
    assert "checked copy" in capsys.readouterr().out
    assert sorted(each.name for each in target.iterdir()) == sorted(
        [IDENTITY_NAME, SECRET_NAME, STORE_NAME]
    )
    assert target.stat().st_mode & 0o77 == 0
    with closing(sqlite3.connect(target / STORE_NAME)) as copy:
        assert copy.execute("SELECT value FROM counters WHERE name = 'sequence'").fetchone() == (7,)
        assert copy.execute("SELECT count(*) FROM deletes").fetchone() == (500,)


@pytest.mark.fault("F5")
def test_a_damaged_store_makes_no_backup(coordinator, tmp_path):
    directory, _ = coordinator
    content = bytearray((directory / STORE_NAME).read_bytes())
    for at in range(len(content) // 2, len(content) // 2 + 20_000):
        content[at] ^= 0x5A
    (directory / STORE_NAME).write_bytes(content)
    target = tmp_path / "copy"
    assert main(["coordinator", "backup", "--data", str(directory), str(target)]) == 6
    assert not target.exists()


def test_a_backup_overwrites_nothing(coordinator, tmp_path):
    directory, _ = coordinator
    target = tmp_path / "copy"
    target.mkdir()
    assert main(["coordinator", "backup", "--data", str(directory), str(target)]) == 2
