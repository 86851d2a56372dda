"""The rules that the owner of a cell sets: bandwidth, bytes in 30 days, hours of rest. Pure: times
are arguments.

Source: docs/repair.md, "The owner's rules".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from typing import Any, Final

from common import limits
from common.config import bad_value
from common.data_classes import dataclass
from common.errors import Corrupt
from common.reasons import Damage

VERSION: Final = 1
DAY_S: Final = 86_400
DAY_MINUTES: Final = 24 * 60
TRANSIT_DAYS: Final = 30
RESTS_AT: Final = 0.9
"""The part of the transit from which the cell rests: what is left is for readers."""
BURST_S: Final = 1.0
"""A line that was idle has saved up so much."""
_SPAN: Final = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])-([01]?[0-9]|2[0-4]):([0-5][0-9])")


class Rest(StrEnum):
    """The reason why a cell takes no new shards and does no repair; also reported as the reason
    why it is read-only."""

    QUIET_HOURS = "quiet_hours"
    TRANSIT = "transit_used"


class TokenBucket:
    """One direction of a line. A piece may begin once those before it have had their time, so the
    bandwidth is exceeded by one piece at most. All times are seconds of one monotonic clock.

    Args:
        bytes_per_s: at least 1; None: no limit.
    """

    def __init__(self, bytes_per_s: int | None) -> None:
        assert bytes_per_s is None or bytes_per_s >= 1
        self._bytes_per_s = bytes_per_s
        self._free_at = float("-inf")

    @property
    def is_limited(self) -> bool:
        """Return whether anything ever waits."""
        return self._bytes_per_s is not None

    def reserve(self, size: int, now: float, most_wait_s: float = float("inf")) -> float | None:
        """Reserve the line for a piece of so many bytes, behind those that have reserved it.

        Returns:
            Seconds until the piece may begin. None: more than ``most_wait_s``; nothing is reserved.
        """
        if self._bytes_per_s is None:
            return 0.0
        free_at = max(self._free_at, now - BURST_S)
        wait_s = max(0.0, free_at - now)
        if wait_s > most_wait_s:
            return None
        self._free_at = free_at + size / self._bytes_per_s
        return wait_s


@dataclass(frozen=True, slots=True)
class QuietHours:
    """Spans of the day, in minutes since midnight; one that ends before it begins goes over
    midnight."""

    spans: tuple[tuple[int, int], ...] = ()

    def has(self, local_s: float) -> bool:
        """Return whether a time is within a span.

        Args:
            local_s: seconds since the epoch plus the offset of the local time.
        """
        minute = int(local_s // 60) % DAY_MINUTES
        return any(
            begin <= minute < end if begin <= end else minute >= begin or minute < end
            for begin, end in self.spans
        )


def quiet_hours(name: str, value: Any) -> QuietHours:
    """Parse ``22:00-06:00``, or several spans with commas between them.

    Raises:
        BadConfig: ``bad_value``: other text, an empty span, or less than ``MIN_AWAKE_HOURS`` left
            of a day.
    """
    if isinstance(value, QuietHours):
        return value
    wanted = (
        "HH:MM-HH:MM, several with commas between them, that leave at least "
        f"{limits.MIN_AWAKE_HOURS} hours of the day"
    )
    if not isinstance(value, str) or len(value) > limits.MAX_LABEL_CHARACTERS:
        bad_value(name, wanted)
    spans = []
    for text in value.split(","):
        match = _SPAN.fullmatch(text.strip())
        if match is None:
            bad_value(name, wanted)
        hour, minute, end_hour, end_minute = map(int, match.groups())
        begin, end = hour * 60 + minute, end_hour * 60 + end_minute
        if begin == end or end > DAY_MINUTES:
            bad_value(name, wanted)
        spans.append((begin, end))
    made = QuietHours(tuple(spans))
    awake = sum(not made.has(minute * 60) for minute in range(DAY_MINUTES))
    if awake < limits.MIN_AWAKE_HOURS * 60:
        bad_value(name, wanted)
    return made


@dataclass(slots=True)
class TransitLedger:
    """Bytes that were moved, up and down, by day of UTC; none older than 30 days.

    A clock that was set back finds days that have not come yet: they count for today. One that is
    set ahead by 30 days makes the ledger forget.
    """

    days: dict[int, int] = field(default_factory=dict)

    def add(self, size: int, now: float) -> None:
        """Count bytes.

        Args:
            now: unix seconds.
        """
        today = self._turn_to(now)
        self.days[today] = min(self.days.get(today, 0) + size, limits.MAX_UINT)

    def used(self, now: float) -> int:
        """Return the bytes of today and the 29 days before."""
        self._turn_to(now)
        return sum(self.days.values())

    def _turn_to(self, now: float) -> int:
        today = int(now // DAY_S)
        if any(day > today or day <= today - TRANSIT_DAYS for day in self.days):
            early = sum(size for day, size in self.days.items() if day > today)
            self.days = {
                day: size for day, size in self.days.items() if today - TRANSIT_DAYS < day <= today
            }
            if early:
                self.days[today] = min(self.days.get(today, 0) + early, limits.MAX_UINT)
        return today

    def pack(self) -> bytes:
        """Return the bytes of the file that it is kept in."""
        days = {str(day): size for day, size in sorted(self.days.items())}
        return json.dumps({"version": VERSION, "days": days}).encode() + b"\n"

    @classmethod
    def unpack(cls, data: bytes) -> TransitLedger:
        """Read the file's bytes.

        Raises:
            Corrupt: ``bad_transit_file``.
        """
        try:
            content = json.loads(data)
            if content["version"] != VERSION or not isinstance(content["days"], Mapping):
                raise ValueError("version")
            days = {int(day): size for day, size in content["days"].items()}
            if len(days) > TRANSIT_DAYS or any(
                type(size) is not int or not 0 <= size <= limits.MAX_UINT for size in days.values()
            ):
                raise ValueError("days")
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise Corrupt(Damage.BAD_TRANSIT_FILE) from error
        return cls(days)


def rest_of(*, is_quiet: bool, used_bytes: int, transit_bytes: int | None) -> Rest | None:
    """Return why a cell rests now; None: it does not.

    Args:
        is_quiet: by :meth:`QuietHours.has`.
        used_bytes: in 30 days.
        transit_bytes: what the owner allows in 30 days; None: no limit.
    """
    if transit_bytes is not None and used_bytes >= RESTS_AT * transit_bytes:
        return Rest.TRANSIT
    return Rest.QUIET_HOURS if is_quiet else None
