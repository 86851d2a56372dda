"""Backups of databases: whole, wherever they lie."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from common.errors import Unavailable
from common.system.sqlite_backup import back_up, look_into


def make(path: Path) -> None:
    with closing(sqlite3.connect(path)) as made:
        made.execute("CREATE TABLE rows (number INTEGER)")
        made.execute("INSERT INTO rows VALUES (7)")
        made.commit()


@pytest.mark.parametrize("name", ["plain", "a#b", "50%25", "what?", "with space"])
def test_a_database_is_backed_up_from_and_to_a_directory_of_any_name(
    tmp_path: Path, name: str
) -> None:
    directory = tmp_path / name
    directory.mkdir()
    make(directory / "a.sqlite")
    assert back_up(directory / "a.sqlite", directory / "copy") > 0
    found = look_into(
        directory / "copy", lambda sql: sql.execute("SELECT number FROM rows").fetchone()
    )
    assert found == (7,)


def test_what_is_not_there_is_not_backed_up(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="backup_failed"):
        back_up(tmp_path / "none", tmp_path / "copy")
