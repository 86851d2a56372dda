"""The one tree of errors, sorted by what the caller does about them.

Foreign exceptions (``OSError``, ``ssl.SSLError``, ``sqlite3.Error``, ...) are mapped to this tree
at one boundary, in ``common/system``. ``AssertionError`` is kept for our own bugs.

Source: docs/architecture.md, "Errors".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class AlvearyError(Exception):
    """Base of every error that crosses a module boundary.

    Args:
        reason: a stable word from the tables in docs/protocol.md (``no_space``, ``order_expired``).
        fields: facts about this case, JSON-like, without secrets; shown to operators and logged.
    """

    wire_code: ClassVar[int] = 0

    def __init__(self, reason: str, **fields: object) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fields: Mapping[str, object] = fields

    def __str__(self) -> str:
        if not self.fields:
            return self.reason
        facts = ", ".join(f"{name}={value!r}" for name, value in self.fields.items())
        return f"{self.reason} ({facts})"


class PeerViolation(AlvearyError):
    """The other side broke the protocol: drop the connection, do not answer further."""

    wire_code = 1


class Unavailable(AlvearyError):
    """It cannot be done here or now: try elsewhere, or later."""

    wire_code = 2


class Corrupt(AlvearyError):
    """Bytes failed their check: treat the shard (or record) as missing, and report it."""

    wire_code = 3


class Refused(AlvearyError):
    """The request is understood and will not be done: do not retry it as it is."""

    wire_code = 4


class NotFound(AlvearyError):
    """The named thing does not exist."""

    wire_code = 5


class BadConfig(AlvearyError):
    """A configuration file, a flag or an environment value is wrong: the operator must act."""

    wire_code = 6


class OutcomeUnknown(AlvearyError):
    """The request may or may not have been carried out (the connection died under it).

    The caller must ask before it assumes either: repeat only what is idempotent.
    """

    wire_code = 7


BY_WIRE_CODE: Mapping[int, type[AlvearyError]] = {
    error.wire_code: error
    for error in (PeerViolation, Unavailable, Corrupt, Refused, NotFound, BadConfig, OutcomeUnknown)
}
