"""Destinations of log lines: a descriptor, or a file that is rotated by size.

Source: docs/operations.md, "Logs"; pipe(7), "PIPE_BUF"; write(2).
"""

from __future__ import annotations

import errno
import os
import select
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from common import limits

STANDARD_ERROR: Final = 2


def _encode(line: str) -> bytes:
    data = line.encode("utf-8", "backslashreplace")
    if len(data) > limits.LOG_LINE_BYTES:
        data = data[: limits.LOG_LINE_BYTES - 4] + b"...\n"
    return data


class DescriptorOutput:
    """Writes lines to an open descriptor, standard error as a rule.

    A pipe or terminal that takes nothing now loses the line instead of stopping the daemon.

    Args:
        is_broken_off: what was written last was not a whole line.
    """

    def __init__(self, descriptor: int = STANDARD_ERROR, *, is_broken_off: bool = False) -> None:
        self._descriptor = descriptor
        self._is_broken_off = is_broken_off

    def write(self, line: str) -> None:
        """Write one line in one call, without waiting.

        Args:
            line: with its newline; cut at LOG_LINE_BYTES.

        Raises:
            OSError: it was not written, or not all of it.
        """
        self._ensure_room()
        data = _encode(line)
        if self._is_broken_off:
            data = b"\n" + data
        written = os.write(self._descriptor, data)
        self._is_broken_off = written < len(data)
        if self._is_broken_off:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _ensure_room(self) -> None:
        if stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            return
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        # An error of the descriptor (POLLERR: nobody reads) shows when it is written to.
        if not poll.poll(0):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


class FileOutput:
    """Writes lines to a file; one that is full becomes ``NAME.1``, that one ``NAME.2``, and so on.

    Where standard error is the same file (its starter has opened it for both), it follows, so
    that a traceback is in the newest file.

    Args:
        path: of the file; its directory exists.
        max_bytes: size at which a new file is begun.
        kept: how many full files stay.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int = limits.LOG_FILE_BYTES,
        kept: int = limits.LOG_FILES_KEPT,
    ) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._kept = kept
        is_broken_off = _ends_within_a_line(path)
        self._file = _open_to_append(path)
        self._output = DescriptorOutput(self._file, is_broken_off=is_broken_off)

    def write(self, line: str) -> None:
        """Write one line in one call.

        Raises:
            OSError: it was not written, or not all of it.
        """
        if os.fstat(self._file).st_size + len(line) > self._max_bytes:
            self._rotate()
        self._output.write(line)

    def _rotate(self) -> None:
        """Begin a new file. If that fails, the old one stays as it is and takes no more lines."""
        draft = self._numbered("new")
        file = os.open(
            draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        try:
            for number in range(self._kept - 1, 0, -1):
                with suppress(FileNotFoundError):
                    self._numbered(number).replace(self._numbered(number + 1))
            with suppress(FileNotFoundError):
                self._path.replace(self._numbered(1))
            draft.replace(self._path)
        except OSError:
            os.close(file)
            raise
        if _is_same_file(self._file, STANDARD_ERROR):
            os.dup2(file, STANDARD_ERROR)
        os.close(self._file)
        self._file = file
        self._output = DescriptorOutput(file)

    def _numbered(self, suffix: object) -> Path:
        return self._path.with_name(f"{self._path.name}.{suffix}")

    def close(self) -> None:
        """Close the file; nothing is written afterwards."""
        os.close(self._file)


def _open_to_append(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _ends_within_a_line(path: Path) -> bool:
    """Return whether an earlier life's last line was not written whole, as on a full disk."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            return file.read(1) not in {b"", b"\n"}
    except FileNotFoundError:
        return False


def _is_same_file(first: int, second: int) -> bool:
    try:
        return os.path.sameopenfile(first, second)
    except OSError:  # standard error is closed
        return False
