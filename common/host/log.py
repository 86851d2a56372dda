"""Log lines: one line of logfmt per event, to standard error.

``time=2026-01-02T03:04:05.678Z level=info service=cell event=joined swarm=home``

Source: docs/operations.md, "Logs".
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Final

MAX_VALUE_CHARACTERS: Final = 500
"""A value longer than this is cut: a hostile peer's text must not fill the operator's disk."""
_NEEDS_QUOTES: Final = frozenset(' "=\\')


def format_value(value: object) -> str:
    """One value as logfmt: bytes as hex, text quoted (as JSON) where it must be, never a newline.

    Args:
        value: anything; other types are shown by ``str``.

    Returns:
        One word without spaces, or a JSON string in ASCII.
    """
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:.6g}"
        case bytes() | bytearray() | memoryview():
            text = bytes(value[: MAX_VALUE_CHARACTERS // 2]).hex()
        case _:
            text = str(value)
    if len(text) > MAX_VALUE_CHARACTERS:
        text = text[:MAX_VALUE_CHARACTERS] + "..."
    if text and text.isascii() and text.isprintable() and _NEEDS_QUOTES.isdisjoint(text):
        return text
    return json.dumps(text)


def format_line(
    moment: float, level: str, service: str, event: str, fields: dict[str, object]
) -> str:
    """One log line without its newline.

    Args:
        moment: seconds since 1970-01-01 UTC.
        level: ``info``, ``warning`` or ``error``.
        service: the daemon's name.
        event: a stable word.
        fields: facts of this case; never a secret.
    """
    whole = int(moment)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
    head = (
        f"time={stamp}.{int((moment - whole) * 1000):03d}Z level={level} "
        f"service={format_value(service)} event={format_value(event)}"
    )
    return " ".join([head, *(f"{name}={format_value(value)}" for name, value in fields.items())])


def _write_to_stderr(line: str) -> None:
    sys.stderr.write(line)
    sys.stderr.flush()


class LineLog:
    """A ``ports.Log`` that writes each event as one line, in one write.

    Args:
        service: the daemon's name, on every line.
        now: the wall clock, seconds.
        write: takes a whole line with its newline; standard error if not given.
    """

    def __init__(
        self,
        service: str,
        now: Callable[[], float] = time.time,
        write: Callable[[str], None] = _write_to_stderr,
    ) -> None:
        self._service = service
        self._now = now
        self._write = write

    def info(self, event: str, **fields: object) -> None:
        """Something happened as it should."""
        self._line("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Something is wrong and was dealt with."""
        self._line("warning", event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Something is wrong and the operator must act."""
        self._line("error", event, fields)

    def _line(self, level: str, event: str, fields: dict[str, object]) -> None:
        self._write(format_line(self._now(), level, self._service, event, fields) + "\n")
