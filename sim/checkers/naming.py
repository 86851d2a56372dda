"""Nothing is ever shown under a name that it was not written under, whichever node answers.

A value may be under a bucket and a key only when a client wrote, copied or completed it there. Its
size and its time stand beside it in a listing; they must be its own.
"""

from __future__ import annotations

import hashlib
from email.utils import parsedate_to_datetime
from typing import Final, TypeAlias

from sim.world import EPOCH_S

MOST_OFF_S: Final = 4 * 3600.0
"""Runs take less than an hour, and clocks are wrong by one at most (:mod:`sim.faults`)."""

Content: TypeAlias = tuple[int, bytes]
"""Size and digest: two values may have the same bytes, and then the same tag."""


class Names:
    """The values that may be seen under each name. A *place* is a bucket and a key, as one text."""

    def __init__(self) -> None:
        self.violations: list[str] = []
        self._allowed: dict[str, set[str]] = {}
        self._contents: dict[str, Content] = {}
        self._tags: dict[str, set[Content]] = {}

    def allow(self, place: str, value: str, content: bytes | None = None) -> None:
        """Allow a value under a name that a client begins to write it under.

        Args:
            content: of a value that was not written anywhere yet.
        """
        self._allowed.setdefault(place, set()).add(value)
        if content is not None:
            digest = hashlib.blake2b(content, digest_size=16).digest()
            self._contents[value] = len(content), digest

    def allow_all_of(self, place: str, source: str) -> None:
        """Allow whatever is under one name under another, to which a client copies it."""
        self._allowed[place] = self._allowed.setdefault(source, set())

    def tagged(self, tag: str, value: str) -> None:
        """Note the tag that a client was given for a value."""
        self._tags.setdefault(tag.strip('"'), set()).add(self._contents[value])

    def read(self, place: str, value: str) -> bool:
        """Check a value that a client was shown. Returns whether it may be there."""
        if value in self._allowed.get(place, ()):
            return True
        self.violations.append(f"{place!r} shows {value}, which was never written there")
        return False

    def listed(self, place: str, tag: str, size: int, modified: float) -> None:
        """Check a row of a listing that a client was shown.

        Args:
            modified: unix seconds.
        """
        tagged = self._tags.get(tag.strip('"'))
        if tagged is not None:
            here = tagged & {self._contents[each] for each in self._allowed.get(place, ())}
            if not here:
                self.violations.append(
                    f"{place!r} is listed with the tag of what was never written there"
                )
            elif size not in {length for length, _ in here}:
                self.violations.append(
                    f"{place!r} is listed with {size} bytes, and with the tag of another size"
                )
        self.dated(place, modified)

    def dated(self, place: str, modified: float | str | None) -> None:
        """Check the time of a value's write that a client was shown: unix seconds, or an HTTP
        date."""
        if modified is None:
            return
        if isinstance(modified, str):
            modified = parsedate_to_datetime(modified).timestamp()
        if abs(modified - EPOCH_S) > MOST_OFF_S:
            self.violations.append(
                f"{place!r} was modified {modified - EPOCH_S:.0f} s after the run began, it says"
            )
