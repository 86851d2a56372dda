"""A checked copy of a database that is in use.

Source: docs/operations.md, "Backups of the store"; sqlite.org/backup.html.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from common.errors import AlvearyError, Corrupt, Unavailable
from common.ports import Sql
from common.reasons import Damage, Outage

T = TypeVar("T")


def back_up(source: Path, target: Path) -> int:
    """Copy a database as it is at one moment, check the copy, and make it durable.

    Args:
        source: the database; its process may run.
        target: does not exist; a whole database in one file afterwards.

    Returns:
        The size of the copy in bytes.

    Raises:
        Corrupt: ``store_corrupt``: the copy fails its check, so the database is damaged.
        Unavailable: ``backup_failed``: it cannot be read, or the copy not be written.
    """
    try:
        copy_at_once(source, target, _check)
        return sync_file(target)
    except sqlite3.Error as error:
        raise _mapped(error, Outage.BACKUP_FAILED) from error
    except OSError as error:
        raise Unavailable(Outage.BACKUP_FAILED, error=str(error)) from error


def copy_at_once(source: Path, target: Path, look: Callable[[sqlite3.Connection], T]) -> T:
    """Copy a database as it is at one moment into one file, which is not durable yet.

    The database may be written meanwhile: the copy is read in one transaction, since a copy in
    several would begin again with each change. Writers do not wait for it.

    Returns:
        What ``look`` returns of the copy.

    Raises:
        sqlite3.Error: the database cannot be read, or the copy not be written.
    """
    address = f"{source.absolute().as_uri()}?mode=ro"
    with (
        closing(sqlite3.connect(address, uri=True)) as opened,
        closing(sqlite3.connect(target)) as copy,
    ):
        opened.backup(copy, pages=-1)
        copy.execute("PRAGMA journal_mode=DELETE")
        return look(copy)


def look_beside(database: Path, look: Callable[[Sql], T]) -> T:
    """Read something of a database, whether another process uses it or none.

    Returns:
        What ``look`` returns.

    Raises:
        Unavailable: ``store_failed``: it cannot be read.
        Corrupt: ``store_corrupt``: it is not a database.
    """
    address = f"{database.absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True)) as opened:
            opened.execute("BEGIN")
            return look(opened)
    except sqlite3.Error as error:
        raise _mapped(error, Outage.STORE_FAILED) from error


def look_into(copy: Path, look: Callable[[Sql], T]) -> T:
    """Check a copy that :func:`back_up` made as a whole, and read something of it.

    Returns:
        What ``look`` returns.

    Raises:
        Corrupt: ``store_corrupt``: the copy is damaged, or no database.
        Unavailable: ``store_failed``: it cannot be read.
    """
    # Immutable: nothing is made beside a copy that may lie on a medium that can only be read.
    address = f"{copy.absolute().as_uri()}?mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(address, uri=True)) as opened:
            _check(opened)
            return look(opened)
    except sqlite3.Error as error:
        raise _mapped(error, Outage.STORE_FAILED) from error


def _check(copy: sqlite3.Connection) -> None:
    (verdict,) = copy.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        raise Corrupt(Damage.STORE_CORRUPT, detail=verdict)


def _mapped(error: sqlite3.Error, otherwise: Outage) -> AlvearyError:
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in (
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    ):
        return Corrupt(Damage.STORE_CORRUPT, detail=str(error))
    return Unavailable(otherwise, error=str(error))


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_file(path: Path) -> int:
    """Make a file durable (its name is so with its directory's sync); its size in bytes."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
