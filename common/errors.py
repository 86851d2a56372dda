"""The one tree of errors, sorted by what the caller does about them.

Foreign exceptions (``OSError``, ``ssl.SSLError``, ``sqlite3.Error``, ...) are mapped to this tree
at one boundary, in ``common/system``. ``AssertionError`` is kept for our own bugs.

Source: docs/architecture.md, "Errors".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

from common.reasons import (
    Absence,
    ConfigFault,
    Damage,
    Outage,
    Reason,
    Refusal,
    Uncertainty,
    Violation,
)


class AlvearyError(Exception):
    """Base of every error that crosses a module boundary.

    Args:
        reason: of the enumeration that belongs to the class (``Refusal.ORDER_EXPIRED``).
        fields: facts about this case, JSON-like, without secrets; shown to operators and logged.
    """

    wire_code: ClassVar[int] = 0
    reasons: ClassVar[type[Reason]] = Reason
    """The reasons that this class of errors may have."""

    reason: str
    """The reason's word; of an error from another process it may be one that is not listed here."""
    fields: Mapping[str, object]

    def __init__(self, reason: Reason, **fields: object) -> None:
        assert isinstance(reason, self.reasons), f"{reason!r} is not of {type(self).__name__}"
        super().__init__(reason.value)
        self.reason = reason.value
        self.fields = fields

    @classmethod
    def received(cls, reason: str, fields: Mapping[str, object] | None = None) -> Self:
        """Make the error that another process reports; its version may know more reasons."""
        error = cls.__new__(cls, reason)
        error.reason = reason
        error.fields = dict(fields or {})
        return error

    def again(self, **fields: object) -> Self:
        """Make an equal error, with more facts, to be raised to another caller."""
        return type(self).received(self.reason, {**self.fields, **fields})

    def __str__(self) -> str:
        if not self.fields:
            return self.reason
        facts = ", ".join(f"{name}={value!r}" for name, value in self.fields.items())
        return f"{self.reason} ({facts})"


class PeerViolation(AlvearyError):
    """The other side broke the protocol: drop the connection, do not answer further."""

    wire_code = 1
    reasons = Violation


class Unavailable(AlvearyError):
    """It cannot be done here or now: try elsewhere, or later."""

    wire_code = 2
    reasons = Outage


class Corrupt(AlvearyError):
    """Bytes failed their check: treat the shard (or record) as missing, and report it."""

    wire_code = 3
    reasons = Damage


class Refused(AlvearyError):
    """The request is understood and will not be done: do not retry it as it is."""

    wire_code = 4
    reasons = Refusal


class NotFound(AlvearyError):
    """The named thing does not exist."""

    wire_code = 5
    reasons = Absence


class BadConfig(AlvearyError):
    """A configuration file, a flag or an environment value is wrong: the operator must act."""

    wire_code = 6
    reasons = ConfigFault


class OutcomeUnknown(AlvearyError):
    """The request may or may not have been carried out (the connection died under it).

    The caller must ask before it assumes either: repeat only what is idempotent.
    """

    wire_code = 7
    reasons = Uncertainty


BY_WIRE_CODE: Mapping[int, type[AlvearyError]] = {
    error.wire_code: error
    for error in (PeerViolation, Unavailable, Corrupt, Refused, NotFound, BadConfig, OutcomeUnknown)
}
