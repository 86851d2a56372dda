"""Log lines: one line of logfmt per event, to standard error or to a file.

``time=2026-01-02T03:04:05.678Z level=info service=cell event=joined swarm=home``

To log never fails and never waits: what cannot be written is counted, and the count is logged once
something can be written again. An event that comes too often is dropped and counted, too.

Source: docs/operations.md, "Logs".
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from common import limits
from common.system.log_output import DescriptorOutput, FileOutput
from common.system.log_rate import LogRate

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
            text = bytes(value[: limits.MAX_LOG_VALUE_CHARACTERS // 2]).hex()
        case _:
            text = str(value)
    if len(text) > limits.MAX_LOG_VALUE_CHARACTERS:
        text = text[: limits.MAX_LOG_VALUE_CHARACTERS] + "..."
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


class LineLog:
    """A ``ports.Log`` that writes each event as one line, in one write.

    Args:
        service: the daemon's name, on every line.
        now: the wall clock, seconds.
        monotonic: seconds, for the rate of lines.
        write: takes a whole line with its newline and raises OSError when it cannot be written;
            standard error if not given.
    """

    def __init__(
        self,
        service: str,
        now: Callable[[], float] = time.time,
        write: Callable[[str], None] | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self._now = now
        self._monotonic = monotonic
        self._write = DescriptorOutput().write if write is None else write
        self._rate = LogRate()
        self._unwritten = 0
        self._unwritten_error = ""

    def info(self, event: str, **fields: object) -> None:
        """Log that something happened as it should."""
        self._line("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Log that something is wrong and was dealt with."""
        self._line("warning", event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Log that something is wrong and the operator must act."""
        self._line("error", event, fields)

    def close(self) -> None:
        """Log what was dropped since the last summary."""
        self._summarise(math.inf)

    def _line(self, level: str, event: str, fields: dict[str, object]) -> None:
        now = self._monotonic()
        kind = (level, event)
        if self._rate.admit(kind, now):
            dropped = self._rate.take_dropped(kind)
            self._put(level, event, {**fields, "dropped": dropped} if dropped else fields)
        self._summarise(now)

    def _summarise(self, now: float) -> None:
        for (level, event), lines in self._rate.take_summary(now):
            self._put("warning", "log_lines_dropped", {"of": event, "at": level, "lines": lines})

    def _put(self, level: str, event: str, fields: dict[str, object]) -> None:
        """Write a line, after the count of those that could not be written before it."""
        try:
            if self._unwritten:
                lost = {"lines": self._unwritten, "error": self._unwritten_error}
                self._write(self._format("error", "log_lines_lost", lost))
                self._unwritten = 0
            self._write(self._format(level, event, fields))
        except OSError as error:
            self._unwritten += 1
            self._unwritten_error = error.strerror or type(error).__name__

    def _format(self, level: str, event: str, fields: dict[str, object]) -> str:
        return format_line(self._now(), level, self._service, event, fields) + "\n"


def open_log(service: str, path: Path | None) -> LineLog:
    """Return the log of a daemon.

    Args:
        path: of its file; None: standard error. A file that cannot be opened is reported on
            standard error, which then takes the lines: a daemon runs without its log.
    """
    if path is None:
        return LineLog(service)
    try:
        return LineLog(service, write=FileOutput(path).write)
    except OSError as error:
        log = LineLog(service)
        log.error("log_not_opened", file=str(path), error=error.strerror)
        return log
