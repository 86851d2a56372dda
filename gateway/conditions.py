"""Conditional requests: the conditions of reads and writes, and what they decide. Pure.

Source: RFC 9110, section 13 (13.2.2: precedence).
"""

from __future__ import annotations

from enum import Enum

from common.data_classes import dataclass
from common.errors import Refused
from common.reasons import Refusal


class Decision(Enum):
    """The outcome of a conditional read."""

    GO_ON = "go on"
    NOT_MODIFIED = "not modified"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ReadConditions:
    """The conditions of a read, or of the source of a copy. Times are Unix seconds."""

    if_match: tuple[str, ...] | None = None
    if_none_match: tuple[str, ...] | None = None
    if_modified_since: int | None = None
    if_unmodified_since: int | None = None

    def decide(self, etag: str, modified_s: int) -> Decision:
        """Decide a read of an object.

        ``if-match`` that holds outweighs ``if-unmodified-since``; ``if-none-match``, held or not,
        outweighs ``if-modified-since``.

        Args:
            etag: without quotes.
            modified_s: when the object was made, in whole seconds (as HTTP shows it).
        """
        if self.if_match is not None:
            if not _matches(self.if_match, etag):
                return Decision.FAILED
        elif self.if_unmodified_since is not None and modified_s > self.if_unmodified_since:
            return Decision.FAILED
        if self.if_none_match is not None:
            if _matches(self.if_none_match, etag):
                return Decision.NOT_MODIFIED
        elif self.if_modified_since is not None and modified_s <= self.if_modified_since:
            return Decision.NOT_MODIFIED
        return Decision.GO_ON

    def check_source(self, etag: str, modified_s: int) -> None:
        """Refuse a copy whose source does not fit. As above, but a copy has no "not modified".

        Raises:
            Refused: ``source_condition_failed``.
        """
        if self.decide(etag, modified_s) is not Decision.GO_ON:
            raise Refused(Refusal.SOURCE_CONDITION_FAILED)


@dataclass(frozen=True, slots=True)
class WriteCondition:
    """The condition of a write: that there is no object, or what the one that is there must have.

    ``absent``: there must be no object of that name. ``etag``: without quotes; ``*``: there must be
    one. ``size``: in bytes. ``modified_s``: Unix seconds.
    """

    absent: bool = False
    etag: str | None = None
    size: int | None = None
    modified_s: int | None = None

    @property
    def is_of_object(self) -> bool:
        """Return whether there must be an object."""
        return any(each is not None for each in (self.etag, self.size, self.modified_s))

    def __bool__(self) -> bool:
        return self.absent or self.is_of_object

    def admits(self, etag: str, size: int, modified_s: int) -> bool:
        """Return whether the object that is there is one that may be overwritten or deleted."""
        return (
            not self.absent
            and self.etag in {None, "*", etag}
            and self.size in {None, size}
            and self.modified_s in {None, modified_s}
        )


def _matches(tags: tuple[str, ...], etag: str) -> bool:
    return any(tag in {"*", etag} for tag in tags)
