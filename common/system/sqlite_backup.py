"""A checked copy of a database that is in use.

Source: docs/operations.md, "Backups of the store"; sqlite.org/backup.html.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from common.errors import Corrupt, Unavailable
from common.reasons import Damage, Outage


def back_up(source: Path, target: Path) -> int:
    """Copy a database as it is at one moment, check the copy, and make it durable.

    The database may be written meanwhile: the copy is read in one transaction, since a copy in
    several would begin again with each change. Writers do not wait for it.

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
        with (
            closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as opened,
            closing(sqlite3.connect(target)) as copy,
        ):
            opened.backup(copy, pages=-1)
            copy.execute("PRAGMA journal_mode=DELETE")
            (verdict,) = copy.execute("PRAGMA integrity_check(1)").fetchone()
        if verdict != "ok":
            raise Corrupt(Damage.STORE_CORRUPT, detail=verdict)
        return sync_file(target)
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (
            sqlite3.SQLITE_CORRUPT,
            sqlite3.SQLITE_NOTADB,
        ):
            raise Corrupt(Damage.STORE_CORRUPT, detail=str(error)) from error
        raise Unavailable(Outage.BACKUP_FAILED, error=str(error)) from error
    except OSError as error:
        raise Unavailable(Outage.BACKUP_FAILED, error=str(error)) from error


def sync_file(path: Path) -> int:
    """Make a file durable (its name is so with its directory's sync); its size in bytes."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
