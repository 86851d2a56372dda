"""Small files of the command line's own: whole or absent, private where they hold secrets."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from common.errors import BadConfig
from common.reasons import ConfigFault
from common.system.disk import note_holder, open_lock


def make_private_directory(path: Path) -> None:
    """Make a directory and its parents, closed to others.

    Raises:
        BadConfig: ``bad_data_directory``.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BadConfig(
            ConfigFault.BAD_DATA_DIRECTORY, message=f"cannot make {path}", error=error.strerror
        ) from error


def write_private(path: Path, content: str) -> None:
    """Write a file durably and at once whole, mode 0600. A file that has this content already is
    left alone, so that nothing is written to a full disk that need not be.

    Raises:
        BadConfig: ``cannot_write``.
    """
    make_private_directory(path.parent)
    if _has_content(path, content):
        return
    draft = path.with_name(path.name + ".new")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError:
            draft.unlink()
            raise
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise BadConfig(ConfigFault.CANNOT_WRITE, file=str(path), error=error.strerror) from error


def _has_content(path: Path, content: str) -> bool:
    try:
        return path.read_bytes() == content.encode()
    except OSError:
        return False


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file; None if the file does not exist.

    Raises:
        BadConfig: ``cannot_read``: unreadable, or not a JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadConfig(ConfigFault.CANNOT_READ, file=str(path), error=error.strerror) from error
    except ValueError as error:
        raise BadConfig(ConfigFault.CANNOT_READ, file=str(path), error="no JSON") from error
    if not isinstance(content, dict):
        raise BadConfig(ConfigFault.CANNOT_READ, file=str(path), error="no JSON object")
    return content


def lock_directory(directory: Path) -> int:
    """Take the lock of a data directory for this process's life. The kernel drops it when the
    process dies, however it dies: a lock is never stale.

    Returns:
        The file descriptor that holds it; keep it open.

    Raises:
        BadConfig: ``data_in_use``, with the process id of the holder.
    """
    make_private_directory(directory)
    try:
        handle = open_lock(directory / "lock")
    except OSError as error:
        raise BadConfig(
            ConfigFault.BAD_DATA_DIRECTORY, data=str(directory), error=error.strerror
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(handle, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(handle)
        raise BadConfig(
            ConfigFault.DATA_IN_USE,
            message=f"another alveary (process {holder}) runs on {directory}",
        ) from error
    note_holder(handle)
    return handle
